select
    conversations.key,
    conversations.id,
    conversations.kind,
    conversations.title,
    conversations.created_by,
    conversations.created_at,
    conversations.updated_at,
    conversations.last_position,
    (conversations.last_sequence - max(members.read_sequence, conversations.read_history))
        - (members.own_count - members.own_at_read) as unread_count,
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
from conversations
cross join members on members.conversation = conversations.key and members.user_id = ?1
left join messages on messages.position = conversations.last_position
where conversations.id = ?2
