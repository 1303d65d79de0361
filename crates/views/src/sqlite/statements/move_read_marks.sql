-- Own messages are counted on the shorter side of the new mark, so that each is counted at most
-- once for a reader however the marks move.
with marks (conversation_id, user_id, through) as (values :rows),
resolved as materialized (
    select conversations.key, conversations.last_sequence, marks.user_id, marks.through
    from marks
    cross join conversations on conversations.id = marks.conversation_id
)
update members
set own_at_read = case
        when resolved.last_sequence - resolved.through <= resolved.through - members.read_sequence
        then members.own_count - (
            select count(*) from folded_index
            where folded_index.conversation = members.conversation
                and folded_index.sequence > resolved.through
                and folded_index.sender = members.joined_position
        ) - (
            select count(*) from recent_index
            where recent_index.conversation = members.conversation
                and recent_index.sequence > resolved.through
                and recent_index.sender = members.joined_position
        )
        else members.own_at_read + (
            select count(*) from folded_index
            where folded_index.conversation = members.conversation
                and folded_index.sequence > members.read_sequence
                and folded_index.sequence <= resolved.through
                and folded_index.sender = members.joined_position
        ) + (
            select count(*) from recent_index
            where recent_index.conversation = members.conversation
                and recent_index.sequence > members.read_sequence
                and recent_index.sequence <= resolved.through
                and recent_index.sender = members.joined_position
        )
    end,
    read_sequence = resolved.through
from resolved
where members.conversation = resolved.key
    and members.user_id = resolved.user_id
    and members.read_sequence < resolved.through
    and resolved.through <= resolved.last_sequence
