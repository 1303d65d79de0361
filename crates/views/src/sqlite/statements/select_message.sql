select
    messages.position,
    messages.id,
    conversations.id,
    messages.sequence,
    messages.sender_id,
    messages.sender_role,
    messages.created_at,
    messages.content,
    messages.attachments,
    messages.email,
    messages.client_message_id,
    messages.sealed
from messages
cross join conversations on conversations.key = messages.conversation
where messages.id = ?1
