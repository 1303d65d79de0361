select m.conversation, m.user_id, m.joined_position
from views.members as m
where m.conversation = any ($1)
order by m.conversation, m.joined_position
