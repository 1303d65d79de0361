with new (position, id, user_id, message_position, message_id, created_at) as (values :rows)
insert into notifications (position, id, user_id, message_position, created_at)
select new.position, new.id, new.user_id, new.message_position, new.created_at
from new
cross join messages on messages.position = new.message_position and messages.id = new.message_id
