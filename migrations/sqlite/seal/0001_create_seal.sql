-- What was signed, of each log that was ever sealed here.
create table checkpoints (
    id integer primary key,
    log text not null,
    -- 1, 2, 3 … within the log.
    number integer not null,
    -- How many events it speaks of.
    size integer not null,
    -- Milliseconds since the Unix epoch.
    signed_at integer not null,
    -- A signed note.
    note text not null,
    unique (log, number),
    unique (log, size)
) strict;

create trigger checkpoints_are_never_changed before update on checkpoints
begin
    select raise(abort, 'checkpoints are never changed');
end;

create trigger checkpoints_are_never_removed before delete on checkpoints
begin
    select raise(abort, 'checkpoints are never removed');
end;

-- The tree's nodes: up to 256 hashes of a level. Level 0 has the leaves, each next one the roots of 256
-- of those below.
create table tiles (
    log text not null,
    level integer not null,
    tile_index integer not null,
    hashes blob not null,
    primary key (log, level, tile_index)
) strict;

-- The public keys that checkpoints were signed with.
create table verifiers (
    log text not null,
    verifier text not null,
    primary key (log, verifier)
) strict, without rowid;

-- The last checkpoint that a destination has taken, by the hash of its name.
create table published (
    log text not null,
    destination text not null,
    number integer not null,
    primary key (log, destination)
) strict, without rowid;
