with page as materialized (
    select
        c.*,
        (c.last_sequence - greatest(m.read_sequence, c.read_history)) - (m.own_count - m.own_at_read) as unread
    from views.members as m
    join views.conversations as c on c.key = m.conversation
    where m.user_id = $1 and c.last_position < $2
    order by c.last_position desc
    limit $3
)
select
    c.key,
    c.id,
    c.kind,
    c.title,
    c.created_by,
    c.created_at,
    c.updated_at,
    c.last_position,
    c.unread,
    s.position,
    s.id,
    c.id,
    s.sequence,
    s.sender_id,
    s.sender_role,
    s.created_at,
    s.content,
    s.attachments,
    s.email,
    s.client_message_id,
    s.sealed
from page as c
left join views.messages as s on s.position = c.last_position
order by c.last_position desc
