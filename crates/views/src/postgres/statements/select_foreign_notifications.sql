select wanted.id
from unnest($2::bytea[]) with ordinality as wanted (id, number)
where not exists (
    select from views.notifications as n
    where n.id = wanted.id and n.user_id = $1
)
order by wanted.number
