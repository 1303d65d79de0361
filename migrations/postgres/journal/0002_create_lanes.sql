-- Who writes what: each lane has one owner at a time, and an epoch that grows whenever it changes.
create table journal.lanes (
    lane integer primary key,
    epoch bigint not null default 0,
    -- Null when the lane is nobody's.
    owner uuid,
    expires_at timestamptz,
    -- The last command of the lane's queue that is settled; all null before the first.
    cursor_stream bigint,
    cursor_sequence bigint,
    cursor_at bigint,
    constraint lanes_owner check ((owner is null) = (expires_at is null)),
    constraint lanes_cursor check (num_nulls(cursor_stream, cursor_sequence, cursor_at) in (0, 3))
);

insert into journal.lanes (lane) select generate_series(0, 63);

-- Who has said that it lives, and until when to believe it.
create table journal.workers (
    worker uuid primary key,
    expires_at timestamptz not null
);

-- Commands that were set aside, for operators.
create table journal.dead_letters (
    id bigint generated always as identity primary key,
    lane integer not null,
    command bytea not null,
    reason text not null,
    set_aside_at timestamptz not null,
    -- Where the lane stood once it was set aside.
    cursor_stream bigint,
    cursor_sequence bigint,
    cursor_at bigint
);

-- Renews what the worker owns and takes what is free, up to its share: even among those that live.
-- All lanes are locked, in their order, so that two workers wait for each other and count the same.
-- At least one row, whose lane is null if the worker has none. The last two columns are the same in
-- all: how many lanes it should give up, and when there may be more to take.
create function journal.renew_lanes(renewing uuid, lease interval)
returns table (
    own_lane integer, own_epoch bigint,
    own_stream bigint, own_sequence bigint, own_at bigint,
    surplus bigint, look_in interval
)
language plpgsql
set search_path = pg_catalog, pg_temp
set lock_timeout = '3500ms'
as $$
declare
    told_at timestamptz;
    living bigint;
    share bigint;
    owned bigint;
    gained bigint;
    next_look interval;
begin
    perform journal.write_durably();
    perform l.lane from journal.lanes as l order by l.lane for no key update;
    told_at := clock_timestamp();
    insert into journal.workers as w (worker, expires_at) values (renewing, told_at + lease)
    on conflict on constraint workers_pkey do update set expires_at = excluded.expires_at;
    delete from journal.workers as w where w.expires_at <= told_at;
    select greatest(count(*), 1) into living from journal.workers as w;
    share := ceil(64.0 / living);
    update journal.lanes as l set expires_at = told_at + lease where l.owner = renewing;
    get diagnostics owned = row_count;
    with taken as (
        select f.lane
        from journal.lanes as f
        where f.owner is null or (f.owner <> renewing and f.expires_at <= told_at)
        order by f.lane
        limit greatest(share - owned, 0)
    )
    update journal.lanes as l
    set owner = renewing, epoch = l.epoch + 1, expires_at = told_at + lease
    from taken
    where l.lane = taken.lane;
    get diagnostics gained = row_count;
    -- Others are about to give some up, or keep theirs until their leases end.
    next_look := case
        when owned + gained < 64 / living then interval '250 ms'
        else (select min(l.expires_at) from journal.lanes as l where l.owner <> renewing) - told_at
    end;
    return query
    select
        l.lane, l.epoch, l.cursor_stream, l.cursor_sequence, l.cursor_at,
        greatest(owned - share, 0), coalesce(next_look, lease)
    from (select) as one
    left join journal.lanes as l on l.owner = renewing
    order by l.lane;
end;
$$;

-- Gives lanes up. They change hands, so their epochs grow. Who has given up all that it had is
-- leaving, and no longer counts among those that share.
create function journal.release_lanes(given_up integer[], epochs bigint[])
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set lock_timeout = '3500ms'
as $$
declare
    leaving uuid[];
begin
    perform journal.write_durably();
    perform l.lane from journal.lanes as l order by l.lane for no key update;
    leaving := array(
        select distinct l.owner
        from unnest(given_up, epochs) as claim (lane, epoch)
        join journal.lanes as l on l.lane = claim.lane and l.epoch = claim.epoch
        where l.owner is not null
    );
    update journal.lanes as l
    set owner = null, expires_at = null, epoch = l.epoch + 1
    from unnest(given_up, epochs) as claim (lane, epoch)
    where l.lane = claim.lane and l.epoch = claim.epoch and l.owner is not null;
    delete from journal.workers as w
    where w.worker = any (leaving)
        and not exists (select from journal.lanes as l where l.owner = w.worker);
end;
$$;

-- Raises epochs, one answer a claim: the new epoch, or null where the lane has changed hands. Under
-- the head's lock, so an append under the older epoch is committed by now, or never will be.
create function journal.raise_lanes(claimed integer[], epochs bigint[])
returns bigint[]
language plpgsql
set search_path = pg_catalog, pg_temp
set lock_timeout = '3500ms'
as $$
declare
    raised bigint[];
begin
    perform journal.write_durably();
    perform h.position from journal.journal_head as h for no key update;
    perform l.lane from journal.lanes as l where l.lane = any (claimed)
    order by l.lane for no key update;
    raised := array(
        select l.epoch + 1
        from unnest(claimed, epochs) with ordinality as claim (lane, epoch, number)
        left join journal.lanes as l
            on l.lane = claim.lane and l.epoch = claim.epoch and l.owner is not null
        order by claim.number
    );
    update journal.lanes as l
    set epoch = l.epoch + 1
    from unnest(claimed, epochs) as claim (lane, epoch)
    where l.lane = claim.lane and l.epoch = claim.epoch and l.owner is not null;
    return raised;
end;
$$;

-- Commits a mark that is no event, as an append would be. Answers how many lanes nobody alive owns.
create function journal.check_writable() returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
set lock_timeout = '3500ms'
as $$
begin
    perform journal.write_durably();
    perform h.position from journal.journal_head as h for no key update;
    update journal.journal as j
    set checked_at = floor(extract(epoch from clock_timestamp()) * 1000);
    return (
        select count(*)
        from journal.lanes as l
        where l.owner is null or l.expires_at <= clock_timestamp()
    );
end;
$$;
