-- The journal that all of this is about: exactly one row.
create table journal (
    one integer primary key check (one = 1),
    id text not null
) strict;

create table reactors (
    name text primary key,
    -- The last position that the reactor is done with.
    checkpoint integer not null
) strict, without rowid;

create table watches (
    reactor text not null,
    user_id text not null,
    -- The lowest position pushed and not yet known to have arrived.
    from_position integer not null,
    primary key (reactor, user_id)
) strict, without rowid;

-- Outlives a change of journal: an epoch is never given twice.
create table epochs (
    role text primary key,
    epoch integer not null
) strict, without rowid;
