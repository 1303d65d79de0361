-- A user's keys, each wrapped by the master key. Of a destroyed one only the name is left.
create table keys.keys (
    id uuid primary key,
    subject text collate "C" not null,
    wrapped bytea,
    -- What is said now is sealed with it. Others were brought in, and are only read with.
    in_use boolean not null,
    created_at bigint not null,
    destroyed_at bigint,
    constraint keys_wrapped check ((wrapped is null) = (destroyed_at is not null)),
    constraint keys_used check (not in_use or wrapped is not null)
);

create unique index keys_in_use on keys.keys (subject) where in_use;
create index keys_by_subject on keys.keys (subject);

-- Something that only the master key makes: exactly one row.
create table keys.master (
    one boolean primary key default true check (one),
    proof bytea not null
);
