with wanted (issuer, key) as (values {rows})
select
    e.position, e.aggregate_type, e.aggregate_id, e.sequence, e.event_type, e.event_version,
    e.payload, e.metadata, e.recorded_at, e.issuer, e.key
from wanted
cross join events as e on e.issuer = wanted.issuer and e.key = wanted.key
