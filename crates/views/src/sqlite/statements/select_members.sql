select members.conversation, members.user_id, members.joined_position
from json_each(?1) as wanted
cross join members on members.conversation = wanted.value
order by members.conversation, members.joined_position
