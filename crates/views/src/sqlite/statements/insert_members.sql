with new (position, conversation_id, user_id) as (values :rows)
insert into members (conversation, user_id, joined_position)
select conversations.key, new.user_id, new.position
from new
cross join conversations on conversations.id = new.conversation_id
