insert into views.refreshes (position, list, user_id)
select n.position, n.list, n.user_id
from unnest($1::bigint[], $2::text[], $3::text[]) as n (position, list, user_id)
