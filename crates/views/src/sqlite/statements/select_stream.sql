-- Within a conversation positions grow with the dense sequence, so the first message above a
-- position is found by halving the range of sequences: rows carry `low`, a sequence at or below
-- the wanted one's predecessor, and `high`, one at or above the wanted one. Only the conversations
-- with the lowest first messages can contribute to the page, and none more than the page holds.
with recursive search (conversation, floor, low, high) as (
    select
        members.conversation,
        max(members.joined_position, ?2),
        0,
        conversations.last_sequence
    from members
    cross join conversations on conversations.key = members.conversation
    where members.user_id = ?1
        and conversations.last_sequence > 0
        and conversations.last_position > max(members.joined_position, ?2)
        and members.joined_position < ?3
    union all
    select
        search.conversation,
        search.floor,
        iif(messages.position > search.floor, search.low, messages.sequence),
        iif(messages.position > search.floor, messages.sequence, search.high)
    from search
    cross join messages
        on messages.conversation = search.conversation
        and messages.sequence = (search.low + search.high) / 2
    where search.high - search.low > 1
),
heads as materialized (
    select search.conversation, search.high as sequence
    from search
    cross join messages
        on messages.conversation = search.conversation and messages.sequence = search.high
    where search.high - search.low = 1 and messages.position <= ?3
    order by messages.position
    limit ?4
),
page as materialized (
    select messages.position
    from heads
    cross join messages
        on messages.conversation = heads.conversation
        and messages.sequence between heads.sequence and heads.sequence + ?4 - 1
    where messages.position <= ?3
    order by messages.position
    limit ?4
)
select
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
    messages.client_message_id
from page
cross join messages on messages.position = page.position
cross join conversations on conversations.key = messages.conversation
order by page.position
