with counts (conversation_id, user_id, added) as (values :rows),
resolved as materialized (
    select conversations.key, counts.user_id, counts.added
    from counts
    cross join conversations on conversations.id = counts.conversation_id
)
update members
set own_count = members.own_count + resolved.added
from resolved
where members.conversation = resolved.key and members.user_id = resolved.user_id
