-- One of each subject's that has none in use.
update keys.keys as k
set in_use = true
from (
    select distinct on (c.subject) c.id
    from keys.keys as c
    where c.subject = any($1)
        and c.wrapped is not null
        and not exists (select from keys.keys as u where u.subject = c.subject and u.in_use)
    order by c.subject, c.created_at desc, c.id desc
) as chosen
where k.id = chosen.id
