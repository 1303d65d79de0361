with page as materialized (
    select conversations.key, conversations.last_position
    from members
    cross join conversations on conversations.key = members.conversation
    where members.user_id = ?1 and conversations.last_position < ?2
    order by conversations.last_position desc
    limit ?3
)
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
from page
cross join conversations on conversations.key = page.key
cross join members on members.conversation = page.key and members.user_id = ?1
left join messages on messages.position = conversations.last_position
order by page.last_position desc
