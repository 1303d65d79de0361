insert into events (
    position, aggregate_type, aggregate_id, sequence, event_type, event_version,
    payload, metadata, recorded_at, issuer, key
)
values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
