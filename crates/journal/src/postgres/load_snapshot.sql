select sequence, state
from journal.snapshots
where aggregate_type = $1 and aggregate_id = $2
