insert into command_index (issuer, key, position)
values (?, ?, ?)
