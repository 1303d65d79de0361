insert into recent_index (conversation, sequence, sender, position)
select conversation, sequence, sender, position
from messages
where position > ?1 and position <= ?2
order by conversation, sequence
