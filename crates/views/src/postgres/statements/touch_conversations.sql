update views.conversations as c
set last_sequence = n.last_sequence, last_position = n.last_position, updated_at = n.at
from unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[])
    as n (id, first_sequence, last_sequence, last_position, at)
where c.id = n.id and c.last_sequence = n.first_sequence - 1
