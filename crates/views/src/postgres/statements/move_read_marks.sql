-- Own messages are counted on the shorter side of the new mark, so that each is counted at most once
-- for a reader however the marks move.
update views.members as m
set
    read_sequence = n.through,
    own_at_read = case
        when c.last_sequence - n.through <= n.through - greatest(m.read_sequence, c.read_history)
        then m.own_count - (
            select count(*) from views.messages as s
            where s.conversation = m.conversation
                and s.sequence > n.through
                and s.sender = m.joined_position
        )
        else m.own_at_read + (
            select count(*) from views.messages as s
            where s.conversation = m.conversation
                and s.sequence > greatest(m.read_sequence, c.read_history)
                and s.sequence <= n.through
                and s.sender = m.joined_position
        )
    end
from unnest($1::text[], $2::text[], $3::bigint[]) as n (conversation_id, user_id, through)
join views.conversations as c on c.id = n.conversation_id
where m.conversation = c.key
    and m.user_id = n.user_id
    and m.read_sequence < n.through
    and n.through <= c.last_sequence
