select issuer, key
from events
where key is not null
group by issuer, key
having count(*) > 1
limit 1
