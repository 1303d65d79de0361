with new (position, conversation_id, user_id) as (values :rows)
insert into refreshes (position, list, user_id)
select new.position, 'conversations', new.user_id
from new
cross join conversations on conversations.id = new.conversation_id
where conversations.kind = 'group'
