-- The beginning of what was said: enough bytes for the characters that are shown.
select
    n.position,
    n.id,
    n.created_at,
    n.read_at,
    c.id,
    s.id,
    s.sender_id,
    s.sender_role,
    s.email,
    substr(s.content, 1, 560),
    s.sealed
from views.notifications as n
join views.messages as s on s.position = n.message_position
join views.conversations as c on c.key = s.conversation
where n.user_id = $1 and n.position < $2 and n.read_at is null
order by n.position desc
limit $3
