insert into seal.published (log, destination, number)
values ($1::uuid, $2, $3)
on conflict (log, destination) do update
set number = excluded.number
