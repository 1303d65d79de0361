-- What changes here waits for the disk, whatever the server or the role is set to: functions say so
-- themselves. Each is called alone, and so is one transaction.

-- The journal that all of this is about: exactly one row.
create table journal (
    only_row boolean primary key default true check (only_row),
    id text not null
);

create table reactors (
    name text collate "C" primary key,
    -- The last position that the reactor is done with.
    checkpoint bigint not null,
    -- Who saved it, and their how manyth save it was: a call that its caller gave up and that comes
    -- after a later one of theirs changes nothing.
    saver text not null,
    save bigint not null
) with (fillfactor = 50);

create table watches (
    reactor text collate "C" not null,
    user_id text collate "C" not null,
    -- The lowest position pushed and not yet known to have arrived.
    from_position bigint not null,
    primary key (reactor, user_id)
);

-- Outlives a change of journal: an epoch is never given twice.
create table epochs (
    role text collate "C" primary key,
    epoch bigint not null
);

-- Who runs a role. Outlives a change of journal, too.
create table roles (
    name text collate "C" primary key,
    -- Raised whenever somebody takes the role.
    epoch bigint not null,
    -- Null once it was given back.
    worker text,
    lease_ends timestamptz not null
) with (fillfactor = 50);

-- Whether the role's epoch is still this one; it stays so until the end of the transaction. There is
-- nothing to look for without a role.
create function holds_fence(its_role text, its_epoch bigint) returns boolean
language plpgsql as $$
begin
    if its_role is null then
        return true;
    end if;
    perform from state.roles where name = its_role and epoch = its_epoch for share;
    return found;
end
$$;

-- Forgets what another journal's events have led to. Gives that journal's id, where there was one.
create function belong_to(its_journal text, fence_role text, fence_epoch bigint)
returns table (replaced text, is_fenced boolean)
language plpgsql as $$
begin
    perform set_config('synchronous_commit', 'on', true);
    insert into state.journal (id) values (its_journal) on conflict do nothing;
    select id into replaced from state.journal for update;
    is_fenced := not state.holds_fence(fence_role, fence_epoch);
    if replaced = its_journal then
        replaced := null;
    elsif not is_fenced then
        delete from state.reactors;
        delete from state.watches;
        update state.journal set id = its_journal;
    end if;
    return next;
end
$$;

-- Saves a checkpoint and changed watches. Gives why not, or null.
create function save(
    its_reactor text,
    its_checkpoint bigint,
    going_on text[],
    from_positions bigint[],
    ended text[],
    its_journal text,
    its_saver text,
    its_save bigint,
    fence_role text,
    fence_epoch bigint
) returns text
language plpgsql as $$
begin
    perform set_config('synchronous_commit', 'on', true);
    perform from state.journal where id = its_journal for share;
    if not found then
        return 'journal';
    end if;
    if not state.holds_fence(fence_role, fence_epoch) then
        return 'role';
    end if;
    insert into state.reactors as stored (name, checkpoint, saver, save)
    values (its_reactor, its_checkpoint, its_saver, its_save)
    on conflict (name) do update
    set checkpoint = excluded.checkpoint, saver = excluded.saver, save = excluded.save
    where stored.saver <> excluded.saver or stored.save < excluded.save;
    if not found then
        return 'later';
    end if;
    insert into state.watches (reactor, user_id, from_position)
    select its_reactor, new.user_id, new.from_position
    from unnest(going_on, from_positions) as new (user_id, from_position)
    on conflict (reactor, user_id) do update
    set from_position = excluded.from_position;
    delete from state.watches where reactor = its_reactor and user_id = any (ended);
    return null;
end
$$;

-- Gives the raised epoch; null if the fence isn't held.
create function raise_epoch(its_role text, fence_role text, fence_epoch bigint) returns bigint
language plpgsql as $$
declare
    raised bigint;
begin
    perform set_config('synchronous_commit', 'on', true);
    if state.holds_fence(fence_role, fence_epoch) then
        insert into state.epochs as stored (role, epoch)
        values (its_role, 1)
        on conflict (role) do update
        set epoch = stored.epoch + 1
        returning epoch into raised;
    end if;
    return raised;
end
$$;

-- Takes a role that is nobody's, the worker's own, or one whose lease has run out. Gives its new
-- epoch; null if it is another's.
create function acquire_role(its_name text, its_worker text, lease interval) returns bigint
language plpgsql as $$
declare
    raised bigint;
begin
    perform set_config('synchronous_commit', 'on', true);
    insert into state.roles as held (name, epoch, worker, lease_ends)
    values (its_name, 1, its_worker, clock_timestamp() + lease)
    on conflict (name) do update
    -- Asked again once the row is locked: the wait for it may have been long.
    set epoch = held.epoch + 1, worker = excluded.worker, lease_ends = clock_timestamp() + lease
    where held.worker is null
        or held.worker = excluded.worker
        or held.lease_ends <= clock_timestamp()
    returning epoch into raised;
    return raised;
end
$$;
