with page as materialized (
    select sequence, position
    from folded_index
    where conversation = ?1 and sequence between ?2 and ?3
    union all
    select sequence, position
    from recent_index
    where conversation = ?1 and sequence between ?2 and ?3
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
cross join conversations on conversations.key = ?1
order by page.sequence
