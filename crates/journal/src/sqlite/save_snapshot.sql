insert into snapshots (aggregate_type, aggregate_id, sequence, state)
values (?, ?, ?, ?)
on conflict (aggregate_type, aggregate_id) do update
set sequence = excluded.sequence, state = excluded.state
where excluded.sequence > snapshots.sequence
