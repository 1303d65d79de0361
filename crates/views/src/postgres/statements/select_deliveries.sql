select
    m.user_id,
    case
        -- History, which nobody waits for.
        when s.position <= c.history_position then s.created_at
        else (
            select d.recorded_at from views.deliveries as d
            where d.user_id = m.user_id and d.through >= s.position
            order by d.through
            limit 1
        )
    end,
    (
        select n.created_at from views.notifications as n
        where n.message_position = s.position and n.user_id = m.user_id
        order by n.position
        limit 1
    ),
    s.created_at
from views.messages as s
join views.conversations as c on c.key = s.conversation
join views.members as m on m.conversation = s.conversation
where s.position = $1 and m.joined_position < s.position and m.user_id <> s.sender_id
order by m.joined_position
