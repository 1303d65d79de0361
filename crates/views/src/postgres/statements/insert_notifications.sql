insert into views.notifications (position, id, user_id, message_position, created_at)
select n.position, n.id, n.user_id, n.message_position, n.at
from unnest($1::bigint[], $2::bytea[], $3::text[], $4::bigint[], $5::bytea[], $6::bigint[])
    as n (position, id, user_id, message_position, message_id, at)
join views.messages as s on s.position = n.message_position and s.id = n.message_id
