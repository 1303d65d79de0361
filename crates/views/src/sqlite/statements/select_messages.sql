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
    messages.client_message_id
from conversations
cross join messages on messages.conversation = conversations.key
where conversations.key = ?1 and messages.sequence between ?2 and ?3
order by messages.sequence
