-- An update by way of an upsert: the planner may put an update's own table first and go through all
-- of it, while cross joins keep their order.
with news (
    id, first_sequence, last_sequence, last_position, updated_at, history_position, read_history
) as (values :rows)
insert into conversations (
    key, id, kind, created_by, created_at, last_sequence, last_position, updated_at,
    history_position, read_history
)
select
    stored.key, stored.id, stored.kind, stored.created_by, stored.created_at, news.last_sequence,
    news.last_position, news.updated_at, max(stored.history_position, news.history_position),
    max(stored.read_history, news.read_history)
from news
cross join conversations as stored on stored.id = news.id
where stored.last_sequence = news.first_sequence - 1
on conflict do update
set last_sequence = excluded.last_sequence,
    last_position = excluded.last_position,
    updated_at = excluded.updated_at,
    history_position = excluded.history_position,
    read_history = excluded.read_history
