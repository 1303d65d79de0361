select
    position, aggregate_type, aggregate_id, sequence, event_type, event_version,
    payload, metadata, recorded_at, issuer, key
from events
where aggregate_type = ? and aggregate_id = ? and sequence > ?
order by sequence
limit ?
