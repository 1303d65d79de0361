select w.number, s.sequence, s.state
from unnest($1::text[], $2::text[]) with ordinality as w (aggregate_type, aggregate_id, number)
join journal.snapshots as s
    on s.aggregate_type = w.aggregate_type and s.aggregate_id = w.aggregate_id
