insert into views.deliveries (user_id, through, outcome, recorded_at)
select n.user_id, n.through, n.outcome, n.at
from unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[]) as n (user_id, through, outcome, at)
on conflict (user_id, through) do nothing
