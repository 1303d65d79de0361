insert into keys.keys as k (id, subject, wrapped, in_use, created_at, destroyed_at)
select
    taken.id::uuid, taken.subject, taken.wrapped, false, $4,
    case when taken.wrapped is null then $4 end
from unnest($1::text[], $2::text[], $3::bytea[]) as taken (id, subject, wrapped)
on conflict (id) do update
set wrapped = null, in_use = false, destroyed_at = $4
where excluded.wrapped is null and k.wrapped is not null
