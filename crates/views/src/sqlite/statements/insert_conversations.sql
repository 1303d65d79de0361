insert into conversations (key, id, kind, title, created_by, created_at, last_position, updated_at)
values :rows
