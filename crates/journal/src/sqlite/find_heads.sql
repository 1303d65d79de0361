with wanted (number, aggregate_type, aggregate_id) as (values {rows})
select
    wanted.number,
    coalesce(
        (
            select max(e.sequence)
            from events as e
            where e.aggregate_type = wanted.aggregate_type and e.aggregate_id = wanted.aggregate_id
        ),
        0
    )
from wanted
where wanted.number is not null
