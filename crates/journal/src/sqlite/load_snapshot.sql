select sequence, state
from snapshots
where aggregate_type = ? and aggregate_id = ?
