select
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
from views.messages as s
join views.conversations as c on c.key = s.conversation
where s.conversation = $1 and s.sequence between $2 and $3
order by s.sequence
