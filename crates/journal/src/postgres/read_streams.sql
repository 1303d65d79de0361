select
    w.number, e.position, e.aggregate_type, e.aggregate_id, e.sequence, e.event_type, e.event_version,
    e.payload::text, e.metadata::text, e.recorded_at, e.issuer, e.key
from unnest($1::text[], $2::text[], $3::bigint[])
    with ordinality as w (aggregate_type, aggregate_id, after, number)
cross join lateral (
    select *
    from journal.events
    where aggregate_type = w.aggregate_type and aggregate_id = w.aggregate_id and sequence > w.after
    order by sequence
    limit $4
) as e
order by w.number, e.sequence
