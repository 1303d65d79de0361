insert into stream_index (aggregate_type, aggregate_id, sequence, position)
values (?, ?, ?, ?)
