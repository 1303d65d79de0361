insert into checkpoints (log, number, size, signed_at, note)
select ?1, ?2, ?3, ?4, ?5
where ?2 = 1 + coalesce((select max(number) from checkpoints where log = ?1), 0)
    and ?3 > coalesce((select max(size) from checkpoints where log = ?1), 0)
