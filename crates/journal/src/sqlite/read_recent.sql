select
    e.position, e.aggregate_type, e.aggregate_id, e.sequence, e.issuer, e.key,
    (
        select s.position
        from stream_index as s
        where s.aggregate_type = e.aggregate_type
        and s.aggregate_id = e.aggregate_id
        and s.sequence = e.sequence
    ),
    (select c.position from command_index as c where c.issuer = e.issuer and c.key = e.key)
from events as e
where e.position > ?
order by e.position
