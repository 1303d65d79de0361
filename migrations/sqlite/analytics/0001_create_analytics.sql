-- Whose rows these are, and which of them are live. One row.
create table source (
    only_row integer primary key check (only_row = 1),
    journal blob not null,
    version integer not null,
    live integer not null
) strict;

-- Sets of rows: the live one, and one that is being made anew.
create table generations (
    generation integer primary key autoincrement,
    -- The last position that its rows show.
    checkpoint integer not null
) strict;

create table rows (
    generation integer not null,
    key blob not null,
    -- JSON.
    value blob not null,
    primary key (generation, key)
) strict, without rowid;
