-- What was signed, of each log that was ever sealed here.
create table checkpoints (
    id bigint generated always as identity primary key,
    log uuid not null,
    -- 1, 2, 3 … within the log.
    number bigint not null,
    -- How many events it speaks of.
    size bigint not null,
    -- Milliseconds since the Unix epoch.
    signed_at bigint not null,
    -- A signed note.
    note text not null,
    unique (log, number),
    unique (log, size)
);

create function refuse_change() returns trigger
language plpgsql as $$
begin
    raise exception 'checkpoints are never %',
        case tg_op when 'UPDATE' then 'changed' else 'removed' end
        using errcode = 'restrict_violation';
end;
$$;

create trigger checkpoints_are_never_changed
before update or delete or truncate on checkpoints
for each statement execute function refuse_change();

-- The tree's nodes: up to 256 hashes of a level. Level 0 has the leaves, each next one the roots of 256
-- of those below.
create table tiles (
    log uuid not null,
    level integer not null,
    tile_index bigint not null,
    hashes bytea not null,
    primary key (log, level, tile_index)
);

-- Hashes don't compress.
alter table tiles alter column hashes set storage external;

-- The public keys that checkpoints were signed with.
create table verifiers (
    log uuid not null,
    verifier text collate "C" not null,
    primary key (log, verifier)
);

-- The last checkpoint that a destination has taken, by the hash of its name.
create table published (
    log uuid not null,
    destination text collate "C" not null,
    number bigint not null,
    primary key (log, destination)
);

-- Adds a checkpoint and the tiles that changed with it, if it is the log's next. Says whether it is.
create function add_checkpoint(
    its_log uuid,
    its_number bigint,
    its_size bigint,
    its_signed_at bigint,
    its_note text,
    its_verifier text,
    levels integer[],
    tile_indexes bigint[],
    tile_hashes bytea[]
) returns boolean
language plpgsql as $$
begin
    -- Waits for the disk, whatever the server or the role is set to.
    perform set_config('synchronous_commit', 'on', true);
    insert into seal.checkpoints (log, number, size, signed_at, note)
    select its_log, its_number, its_size, its_signed_at, its_note
    where its_number = 1 + coalesce((select max(number) from seal.checkpoints where log = its_log), 0)
        and its_size > coalesce((select max(size) from seal.checkpoints where log = its_log), 0)
    on conflict do nothing;
    if not found then
        return false;
    end if;
    insert into seal.verifiers (log, verifier) values (its_log, its_verifier) on conflict do nothing;
    insert into seal.tiles (log, level, tile_index, hashes)
    select its_log, tile.level, tile.tile_index, tile.hashes
    from unnest(levels, tile_indexes, tile_hashes) as tile (level, tile_index, hashes)
    on conflict (log, level, tile_index) do update
    set hashes = excluded.hashes;
    return true;
end
$$;
