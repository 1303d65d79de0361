select
    e.position, e.aggregate_type, e.aggregate_id, e.sequence, e.event_type, e.event_version,
    e.payload, e.metadata, e.recorded_at, e.issuer, e.key
from stream_index as s
cross join events as e on e.position = s.position
where s.aggregate_type = ? and s.aggregate_id = ? and s.sequence > ?
order by s.sequence
limit ?
