select max(sequence)
from stream_index
where aggregate_type = ? and aggregate_id = ?
