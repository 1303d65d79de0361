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
    messages.sealed,
    messages.conversation
from messages
cross join conversations on conversations.key = messages.conversation
where messages.position > ?1
    and messages.position <= ?2
    and messages.position > conversations.history_position
order by messages.position
limit ?3
