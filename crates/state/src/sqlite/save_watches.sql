-- The where clause keeps "on conflict" from being read as part of a join.
insert into watches (reactor, user_id, from_position)
select ?, value ->> 0, value ->> 1
from json_each(?)
where true
on conflict (reactor, user_id) do update
set from_position = excluded.from_position
