-- The events table has postgres-es's columns; what is ours comes after them.
create table events (
    -- 1, 2, 3 … in commit order.
    position integer primary key,
    aggregate_type text not null,
    aggregate_id text not null,
    -- 1, 2, 3 … within the aggregate.
    sequence integer not null,
    event_type text not null,
    event_version text not null,
    -- JSON.
    payload text not null,
    metadata text not null,
    -- Milliseconds since the Unix epoch; never decreases as positions grow.
    recorded_at integer not null,
    -- The command's key; only on the last of its events.
    issuer text,
    key text,
    check (position > 0 and sequence > 0),
    check ((issuer is null) = (key is null))
) strict;

create unique index events_stream on events (aggregate_type, aggregate_id, sequence);

create unique index events_command on events (issuer, key) where key is not null;

create trigger events_are_never_changed before update on events
begin
    select raise(abort, 'events are never changed');
end;

create trigger events_are_never_removed before delete on events
begin
    select raise(abort, 'events are never removed');
end;

-- Who this journal is: exactly one row.
create table journal (
    one integer primary key check (one = 1),
    id text not null,
    created_at integer not null,
    -- When it was last tried whether a commit goes through.
    checked_at integer
) strict;

-- Disposable: where an aggregate's cold load goes on from.
create table snapshots (
    aggregate_type text not null,
    aggregate_id text not null,
    sequence integer not null,
    state text not null,
    primary key (aggregate_type, aggregate_id)
) strict, without rowid;
