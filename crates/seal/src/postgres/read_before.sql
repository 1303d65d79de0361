select id, log::text, number, size, signed_at, note
from seal.checkpoints
where id < $1
order by id desc
limit $2
