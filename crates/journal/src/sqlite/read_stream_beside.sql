with entered as (
    select position
    from stream_index
    where aggregate_type = ?1 and aggregate_id = ?2 and sequence > ?3
    order by sequence
    limit ?4
),
places (position) as (
    select position from entered
    union
    -- Bounded: the index tables follow the events.
    select e.position
    from events as e
    where e.position > (select indexed from journal)
    and e.aggregate_type = ?1
    and e.aggregate_id = ?2
    and e.sequence > ?3
)
select
    e.position, e.aggregate_type, e.aggregate_id, e.sequence, e.event_type, e.event_version,
    e.payload, e.metadata, e.recorded_at, e.issuer, e.key
from places
cross join events as e on e.position = places.position
order by e.sequence
limit ?4
