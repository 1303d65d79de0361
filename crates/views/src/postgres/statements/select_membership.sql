select exists (
    select from views.members as m
    where m.conversation = c.key and m.user_id = $2
)
from views.conversations as c
where c.id = $1
