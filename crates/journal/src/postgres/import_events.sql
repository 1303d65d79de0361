insert into journal.events (
    aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
    position, recorded_at, issuer, key
)
select
    e.aggregate_type, e.aggregate_id, e.sequence, e.event_type, e.event_version,
    e.payload::json, e.metadata::json, e.position, e.recorded_at, e.issuer, e.key
from unnest(
    $1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[],
    $8::bigint[], $9::bigint[], $10::text[], $11::bytea[]
) as e (
    aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
    position, recorded_at, issuer, key
)
