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
    s.sealed,
    s.conversation
from views.messages as s
join views.conversations as c on c.key = s.conversation
where s.position > $1 and s.position <= $2 and s.position > c.history_position
order by s.position
limit $3
