select
    notifications.position,
    notifications.id,
    notifications.created_at,
    notifications.read_at,
    conversations.id,
    messages.id,
    messages.sender_id,
    messages.sender_role,
    messages.email,
    substr(messages.content, 1, 140),
    messages.sealed
from notifications
cross join messages on messages.position = notifications.message_position
cross join conversations on conversations.key = messages.conversation
where notifications.user_id = ?1 and notifications.position < ?2 and notifications.read_at is null
order by notifications.position desc
limit ?3
