select
    position, aggregate_type, aggregate_id, sequence, event_type, event_version,
    payload::text, metadata::text, recorded_at, issuer, key
from journal.events
where position > $1
order by position
limit $2
