insert into keys.keys (id, subject, wrapped, created_at)
select offered.id::uuid, offered.subject, offered.wrapped, $4
from unnest($1::text[], $2::text[], $3::bytea[]) as offered (id, subject, wrapped)
on conflict (subject) where wrapped is not null do nothing
