insert into reactors (name, checkpoint)
values (?, ?)
on conflict (name) do update
set checkpoint = excluded.checkpoint
