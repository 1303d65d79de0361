with new (
    position, id, conversation_id, sequence, sender_id, sender_role, created_at, content,
    attachments, email, client_message_id, sealed
) as (values :rows)
insert into messages (
    position, id, conversation, sequence, sender, sender_id, sender_role, created_at, content,
    attachments, email, client_message_id, sealed
)
select
    new.position, new.id, conversations.key, new.sequence, members.joined_position, new.sender_id,
    new.sender_role, new.created_at, new.content, new.attachments, new.email,
    new.client_message_id, new.sealed
from new
cross join conversations on conversations.id = new.conversation_id
cross join members
    on members.conversation = conversations.key and members.user_id = new.sender_id
