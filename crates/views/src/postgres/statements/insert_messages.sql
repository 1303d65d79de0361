insert into views.messages (
    position, id, conversation, sequence, sender, sender_id, sender_role, created_at, content,
    attachments, email, client_message_id, sealed
)
select
    n.position, n.id, c.key, n.sequence, m.joined_position, n.sender_id, n.sender_role,
    n.created_at, n.content, n.attachments, n.email, n.client_message_id, n.sealed
from unnest(
    $1::bigint[], $2::bytea[], $3::text[], $4::bigint[], $5::text[], $6::bytea[], $7::bigint[],
    $8::bytea[], $9::text[], $10::bytea[], $11::bytea[], $12::bytea[]
) as n (
    position, id, conversation_id, sequence, sender_id, sender_role, created_at, content,
    attachments, email, client_message_id, sealed
)
join views.conversations as c on c.id = n.conversation_id
join views.members as m on m.conversation = c.key and m.user_id = n.sender_id
