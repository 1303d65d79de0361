select
    position, aggregate_type, aggregate_id, sequence, event_type, event_version,
    payload::text, metadata::text, recorded_at, issuer, key
from journal.events
where issuer = $1 and key = $2
