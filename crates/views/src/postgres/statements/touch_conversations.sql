update views.conversations as c
set
    last_sequence = n.last_sequence,
    last_position = n.last_position,
    updated_at = n.at,
    history_position = greatest(c.history_position, n.history_position),
    read_history = greatest(c.read_history, n.read_history)
from unnest(
    $1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[]
) as n (id, first_sequence, last_sequence, last_position, at, history_position, read_history)
where c.id = n.id and c.last_sequence = n.first_sequence - 1
