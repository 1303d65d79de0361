with news (id, first_sequence, last_sequence, last_position, updated_at) as (values :rows)
update conversations
set last_sequence = news.last_sequence,
    last_position = news.last_position,
    updated_at = news.updated_at
from news
where conversations.id = news.id and conversations.last_sequence = news.first_sequence - 1
