select
    id, lane, command, reason, floor(extract(epoch from set_aside_at) * 1000)::bigint,
    cursor_stream, cursor_sequence, cursor_at
from journal.dead_letters
where id > $1
order by id
limit $2
