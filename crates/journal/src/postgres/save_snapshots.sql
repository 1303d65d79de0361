-- The newest of each aggregate; in order, so that two savers don't wait for each other in a circle.
insert into journal.snapshots as known (aggregate_type, aggregate_id, sequence, state)
select distinct on (s.aggregate_type, s.aggregate_id)
    s.aggregate_type, s.aggregate_id, s.sequence, s.state
from unnest($1::text[], $2::text[], $3::bigint[], $4::text[])
    as s (aggregate_type, aggregate_id, sequence, state)
order by s.aggregate_type, s.aggregate_id, s.sequence desc
on conflict (aggregate_type, aggregate_id) do update
set sequence = excluded.sequence, state = excluded.state
where excluded.sequence > known.sequence
