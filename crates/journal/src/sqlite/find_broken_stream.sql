select aggregate_type, aggregate_id
from events
group by aggregate_type, aggregate_id
having count(*) <> max(sequence) or count(distinct sequence) <> count(*)
limit 1
