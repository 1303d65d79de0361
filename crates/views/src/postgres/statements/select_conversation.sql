select
    c.key,
    c.id,
    c.kind,
    c.title,
    c.created_by,
    c.created_at,
    c.updated_at,
    c.last_position,
    (c.last_sequence - greatest(m.read_sequence, c.read_history)) - (m.own_count - m.own_at_read),
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
from views.conversations as c
join views.members as m on m.conversation = c.key and m.user_id = $1
left join views.messages as s on s.position = c.last_position
where c.id = $2
