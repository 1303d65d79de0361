insert into deliveries (user_id, through, outcome, recorded_at)
values :rows
on conflict (user_id, through) do nothing
