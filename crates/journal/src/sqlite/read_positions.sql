select
    position, aggregate_type, aggregate_id, sequence, event_type, event_version,
    payload, metadata, recorded_at, issuer, key
from events
where position in (select value from json_each(?))
order by position
