-- Only the conversations with the lowest first messages can contribute to the page, and none more than
-- the page holds.
with heads as materialized (
    select m.conversation, head.position
    from views.members as m
    join views.conversations as c on c.key = m.conversation
    cross join lateral (
        select first.position
        from views.messages as first
        where first.conversation = m.conversation
            and first.position > greatest(m.joined_position, c.history_position, $2)
            and first.position <= $3
        order by first.position
        limit 1
    ) as head
    where m.user_id = $1
        and c.last_sequence > 0
        and c.last_position > greatest(m.joined_position, c.history_position, $2)
        and m.joined_position < $3
    order by head.position
    limit $4
),
page as materialized (
    select found.position
    from heads
    cross join lateral (
        select more.position
        from views.messages as more
        where more.conversation = heads.conversation
            and more.position >= heads.position
            and more.position <= $3
        order by more.position
        limit $4
    ) as found
    order by found.position
    limit $4
)
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
from page
join views.messages as s on s.position = page.position
join views.conversations as c on c.key = s.conversation
order by s.position
