insert into refreshes (position, list, user_id)
values :rows
