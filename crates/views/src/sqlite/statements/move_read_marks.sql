-- An update by way of an upsert: the planner may put an update's own table first and go through all
-- of it, while cross joins keep their order. Own messages are counted on the shorter side of the new
-- mark, so that each is counted at most once for a reader however the marks move.
with marks (conversation_id, user_id, through) as (values :rows)
insert into members (conversation, user_id, joined_position, read_sequence, own_at_read)
select
    stored.conversation,
    stored.user_id,
    stored.joined_position,
    marks.through,
    case
        when conversations.last_sequence - marks.through <= marks.through - max(stored.read_sequence, conversations.read_history)
        then stored.own_count - (
            select count(*) from folded_index
            where folded_index.conversation = stored.conversation
                and folded_index.sequence > marks.through
                and folded_index.sender = stored.joined_position
        ) - (
            select count(*) from recent_index
            where recent_index.conversation = stored.conversation
                and recent_index.sequence > marks.through
                and recent_index.sender = stored.joined_position
        )
        else stored.own_at_read + (
            select count(*) from folded_index
            where folded_index.conversation = stored.conversation
                and folded_index.sequence > max(stored.read_sequence, conversations.read_history)
                and folded_index.sequence <= marks.through
                and folded_index.sender = stored.joined_position
        ) + (
            select count(*) from recent_index
            where recent_index.conversation = stored.conversation
                and recent_index.sequence > max(stored.read_sequence, conversations.read_history)
                and recent_index.sequence <= marks.through
                and recent_index.sender = stored.joined_position
        )
    end
from marks
cross join conversations on conversations.id = marks.conversation_id
cross join members as stored
    on stored.conversation = conversations.key and stored.user_id = marks.user_id
where stored.read_sequence < marks.through and marks.through <= conversations.last_sequence
on conflict (conversation, user_id) do update
set read_sequence = excluded.read_sequence,
    own_at_read = excluded.own_at_read
