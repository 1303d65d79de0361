select exists (
    select 1 from members
    where members.conversation = conversations.key and members.user_id = ?2
)
from conversations
where conversations.id = ?1
