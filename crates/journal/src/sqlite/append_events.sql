-- "or rollback": what breaks a rule here ends the whole transaction anyway, and SQLite needn't keep
-- a copy of each page in case only this statement is undone, which took two thirds of its time.
insert or rollback into events (
    position, aggregate_type, aggregate_id, sequence, event_type, event_version,
    payload, metadata, recorded_at, issuer, key
)
values {rows}
