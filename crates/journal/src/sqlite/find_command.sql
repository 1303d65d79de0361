select
    e.position, e.aggregate_type, e.aggregate_id, e.sequence, e.event_type, e.event_version,
    e.payload, e.metadata, e.recorded_at, e.issuer, e.key
from command_index as c
cross join events as e on e.position = c.position
where c.issuer = ? and c.key = ?
