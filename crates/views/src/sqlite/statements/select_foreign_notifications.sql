select wanted.value
from json_each(?2) as wanted
where not exists (
    select 1 from notifications
    where notifications.id = unhex(wanted.value) and notifications.user_id = ?1
)
order by wanted.key
