update views.members as m
set own_count = m.own_count + n.added
from unnest($1::text[], $2::text[], $3::bigint[]) as n (conversation_id, user_id, added)
join views.conversations as c on c.id = n.conversation_id
where m.conversation = c.key and m.user_id = n.user_id
