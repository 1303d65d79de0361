-- A user's keys, each wrapped by the master key. Of a destroyed one only the name is left.
create table keys (
    id blob primary key,
    subject text not null,
    wrapped blob,
    -- What is said now is sealed with it. Others were brought in, and are only read with.
    in_use integer not null,
    created_at integer not null,
    destroyed_at integer,
    check ((wrapped is null) = (destroyed_at is not null)),
    check (in_use in (0, 1) and (in_use = 0 or wrapped is not null))
) strict, without rowid;

create unique index keys_in_use on keys (subject) where in_use = 1;
create index keys_by_subject on keys (subject);

-- Something that only the master key makes: exactly one row.
create table master (
    one integer primary key check (one = 1),
    proof blob not null
) strict;
