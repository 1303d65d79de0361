insert into views.members (conversation, user_id, joined_position)
select c.key, n.user_id, n.position
from unnest($1::bigint[], $2::text[], $3::text[]) as n (position, conversation_id, user_id)
join views.conversations as c on c.id = n.conversation_id
