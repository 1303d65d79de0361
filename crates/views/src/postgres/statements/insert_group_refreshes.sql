insert into views.refreshes (position, list, user_id)
select n.position, 'conversations', n.user_id
from unnest($1::bigint[], $2::text[], $3::text[]) as n (position, conversation_id, user_id)
join views.conversations as c on c.id = n.conversation_id
where c.kind = 'group'
