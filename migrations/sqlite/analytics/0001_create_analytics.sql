-- Whose rows these are, and which of them are live. One row.
create table source (
    only_row integer primary key check (only_row = 1),
    journal blob not null,
    version integer not null,
    live integer not null
) strict;

-- Sets of rows: the live one, one that is being made anew, and those that are being removed.
create table generations (
    generation integer primary key autoincrement,
    -- The last position that its rows show.
    checkpoint integer not null default 0,
    -- How often its rows were changed.
    revision integer not null default 0,
    is_given_up integer not null default 0 check (is_given_up in (0, 1))
) strict;

create table rows (
    generation integer not null,
    key blob not null,
    -- JSON.
    value blob not null,
    primary key (generation, key)
) strict, without rowid;
