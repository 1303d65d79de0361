-- The events table has postgres-es's columns and types; what is ours comes after them.
-- Names are compared byte by byte ("C"): fast, and the same whatever the server's locale becomes.
create table journal.events (
    aggregate_type text collate "C" not null,
    aggregate_id text collate "C" not null,
    -- 1, 2, 3 … within the aggregate.
    sequence bigint not null,
    event_type text not null,
    event_version text not null,
    -- json, not jsonb: it comes back as it was written, and takes any text.
    payload json not null,
    metadata json not null,
    -- 1, 2, 3 … in commit order.
    position bigint not null,
    -- Milliseconds since the Unix epoch; never decreases as positions grow.
    recorded_at bigint not null,
    -- The command's key; only on the last of its events. UTF-8: text would refuse some of it (NUL).
    issuer text collate "C",
    key bytea,
    constraint events_position primary key (position),
    constraint events_stream unique (aggregate_type, aggregate_id, sequence),
    constraint events_numbers check (position > 0 and sequence > 0),
    constraint events_key check ((issuer is null) = (key is null))
);

create unique index events_command on journal.events (issuer, key) where key is not null;

create function journal.refuse_change() returns trigger
language plpgsql
as $$
begin
    raise exception 'events are never %',
        case tg_op when 'UPDATE' then 'changed' else 'removed' end
        using errcode = 'restrict_violation';
end;
$$;

create trigger events_are_never_changed
before update or delete or truncate on journal.events
for each statement execute function journal.refuse_change();

-- The last event's position, and the last time that was told: exactly one row, whose lock gives positions
-- their order.
create table journal.journal_head (
    one boolean primary key default true check (one),
    position bigint not null,
    recorded_at bigint not null
);

insert into journal.journal_head (position, recorded_at) values (0, 0);

-- Who this journal is: exactly one row.
create table journal.journal (
    one boolean primary key default true check (one),
    id uuid not null,
    created_at bigint not null,
    -- When it was last tried whether a commit goes through.
    checked_at bigint
);

insert into journal.journal (id, created_at)
values (gen_random_uuid(), floor(extract(epoch from clock_timestamp()) * 1000));

-- Disposable: where an aggregate's cold load goes on from.
create table journal.snapshots (
    aggregate_type text collate "C" not null,
    aggregate_id text collate "C" not null,
    sequence bigint not null,
    state text not null,
    primary key (aggregate_type, aggregate_id)
);

-- What every function that writes begins with. A server may be set to answer before the commit is on
-- the disk; this transaction's is waited for. And whoever has waited for a lock must see what the one
-- before it committed, which it would not under a snapshot from before.
create function journal.write_durably() returns void
language plpgsql
as $$
begin
    if current_setting('synchronous_commit') not in ('on', 'remote_apply') then
        -- Until the transaction's end, so the commit is part of it.
        perform set_config('synchronous_commit', 'on', true);
    end if;
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'the journal is written under read committed, not %',
            current_setting('transaction_isolation');
    end if;
end;
$$;
