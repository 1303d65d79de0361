-- An update by way of an upsert: the planner may put an update's own table first and go through all
-- of it, while cross joins keep their order.
with counts (conversation_id, user_id, added) as (values :rows)
insert into members (conversation, user_id, joined_position, own_count)
select stored.conversation, stored.user_id, stored.joined_position, stored.own_count + counts.added
from counts
cross join conversations on conversations.id = counts.conversation_id
cross join members as stored
    on stored.conversation = conversations.key and stored.user_id = counts.user_id
where true
on conflict (conversation, user_id) do update
set own_count = excluded.own_count
