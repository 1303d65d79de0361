select
    members.user_id,
    case
        -- History, which nobody waits for.
        when messages.position <= conversations.history_position then messages.created_at
        else (
            select deliveries.recorded_at from deliveries
            where deliveries.user_id = members.user_id and deliveries.through >= messages.position
            order by deliveries.through
            limit 1
        )
    end,
    (
        select notifications.created_at from notifications
        where notifications.message_position = messages.position
            and notifications.user_id = members.user_id
        order by notifications.position
        limit 1
    ),
    messages.created_at
from messages
cross join conversations on conversations.key = messages.conversation
cross join members on members.conversation = messages.conversation
where messages.position = ?1
    and members.joined_position < messages.position
    and members.user_id <> messages.sender_id
order by members.joined_position
