insert into views.conversations (
    key, id, kind, title, created_by, created_at, last_position, updated_at
)
select n.position, n.id, n.kind, n.title, n.created_by, n.at, n.position, n.at
from unnest($1::bigint[], $2::text[], $3::text[], $4::bytea[], $5::text[], $6::bigint[])
    as n (position, id, kind, title, created_by, at)
