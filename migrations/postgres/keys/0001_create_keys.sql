-- A user's keys, each wrapped by the master key. Of a destroyed one only the name is left.
create table keys.keys (
    id uuid primary key,
    subject text collate "C" not null,
    wrapped bytea,
    created_at bigint not null,
    destroyed_at bigint,
    constraint keys_wrapped check ((wrapped is null) = (destroyed_at is not null))
);

create unique index keys_in_use on keys.keys (subject) where wrapped is not null;
create index keys_destroyed on keys.keys (subject) where wrapped is null;

-- Something that only the master key opens: exactly one row.
create table keys.master (
    one boolean primary key default true check (one),
    proof bytea not null
);
