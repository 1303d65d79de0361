select position, list, user_id
from views.refreshes
where position > $1 and position <= $2
order by position
limit $3
