select id, log::text, number, size, signed_at, note
from seal.checkpoints
where log = $1::uuid and number > $2
order by number
limit $3
