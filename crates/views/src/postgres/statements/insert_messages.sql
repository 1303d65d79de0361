-- A batch has fewer senders than messages: each is looked up once, and messages name them by number.
with senders as (
    update views.members as m
    set own_count = m.own_count + n.added
    from unnest($1::text[], $2::text[], $3::bigint[]) with ordinality
        as n (conversation_id, user_id, added, number)
    join views.conversations as c on c.id = n.conversation_id
    where m.conversation = c.key and m.user_id = n.user_id
    returning n.number, m.conversation, m.joined_position
),
-- By subscript: whatever the planner believes about how many there are, no join costs their product.
found as materialized (
    select
        array_agg(conversation order by number) as conversations,
        array_agg(joined_position order by number) as members
    from senders
    having count(*) = cardinality($1)
)
insert into views.messages (
    position, id, conversation, sequence, sender, sender_id, sender_role, created_at, content,
    attachments, email, client_message_id, sealed
)
select
    n.position, n.id, f.conversations[n.sender], n.sequence, f.members[n.sender], n.sender_id,
    n.sender_role, n.created_at, n.content, n.attachments, n.email, n.client_message_id, n.sealed
from found as f
cross join unnest(
    $4::bigint[], $5::bytea[], $6::int[], $7::bigint[], $8::text[], $9::bytea[], $10::bigint[],
    $11::bytea[], $12::text[], $13::bytea[], $14::bytea[], $15::bytea[]
) as n (
    position, id, sender, sequence, sender_id, sender_role, created_at, content,
    attachments, email, client_message_id, sealed
)
