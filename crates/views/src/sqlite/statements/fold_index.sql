insert into folded_index (conversation, sequence, sender, position)
select conversation, sequence, sender, position
from recent_index
order by conversation, sequence
