-- A user's keys, each wrapped by the master key. Of a destroyed one only the name is left.
create table keys (
    id blob primary key,
    subject text not null,
    wrapped blob,
    created_at integer not null,
    destroyed_at integer,
    check ((wrapped is null) = (destroyed_at is not null))
) strict, without rowid;

create unique index keys_in_use on keys (subject) where wrapped is not null;
create index keys_destroyed on keys (subject) where wrapped is null;

-- Something that only the master key opens: exactly one row.
create table master (
    one integer primary key check (one = 1),
    proof blob not null
) strict;
