insert into keys.keys (id, subject, wrapped, in_use, created_at)
select offered.id::uuid, offered.subject, offered.wrapped, true, $4
from unnest($1::text[], $2::text[], $3::bytea[]) as offered (id, subject, wrapped)
on conflict (subject) where in_use do nothing
