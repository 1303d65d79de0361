-- Within a conversation positions grow with the dense sequence, so the first message above a
-- position is found by halving the range of sequences: rows carry `low`, a sequence at or below
-- the wanted one's predecessor, and `high`, one at or above the wanted one. Only the conversations
-- with the lowest first messages can contribute to the page, and none more than the page holds.
with recursive search (conversation, floor, low, high) as (
    select
        members.conversation,
        max(members.joined_position, conversations.history_position, ?2),
        0,
        conversations.last_sequence
    from members
    cross join conversations on conversations.key = members.conversation
    where members.user_id = ?1
        and conversations.last_sequence > 0
        and conversations.last_position > max(
            members.joined_position, conversations.history_position, ?2
        )
        and members.joined_position < ?3
    union all
    select
        search.conversation,
        search.floor,
        iif(coalesce(recent.position, folded.position) > search.floor,
            search.low, (search.low + search.high) / 2),
        iif(coalesce(recent.position, folded.position) > search.floor,
            (search.low + search.high) / 2, search.high)
    from search
    left join recent_index as recent
        on recent.conversation = search.conversation
        and recent.sequence = (search.low + search.high) / 2
    left join folded_index as folded
        on recent.position is null
        and folded.conversation = search.conversation
        and folded.sequence = (search.low + search.high) / 2
    where search.high - search.low > 1
),
heads as materialized (
    select
        search.conversation,
        search.high as sequence,
        coalesce(recent.position, folded.position) as position
    from search
    left join recent_index as recent
        on recent.conversation = search.conversation and recent.sequence = search.high
    left join folded_index as folded
        on recent.position is null
        and folded.conversation = search.conversation
        and folded.sequence = search.high
    where search.high - search.low = 1
        and coalesce(recent.position, folded.position) <= ?3
    order by 3
    limit ?4
),
page as materialized (
    select folded.position as position
    from heads
    cross join folded_index as folded
        on folded.conversation = heads.conversation
        and folded.sequence between heads.sequence and heads.sequence + ?4 - 1
    where folded.position <= ?3
    union all
    select recent.position
    from heads
    cross join recent_index as recent
        on recent.conversation = heads.conversation
        and recent.sequence between heads.sequence and heads.sequence + ?4 - 1
    where recent.position <= ?3
    order by 1
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
    messages.client_message_id,
    messages.sealed
from page
cross join messages on messages.position = page.position
cross join conversations on conversations.key = messages.conversation
order by page.position
