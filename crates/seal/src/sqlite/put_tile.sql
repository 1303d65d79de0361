insert into tiles (log, level, tile_index, hashes)
values (?, ?, ?, ?)
on conflict (log, level, tile_index) do update
set hashes = excluded.hashes
