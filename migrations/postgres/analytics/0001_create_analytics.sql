-- Whose rows these are, and which of them are live. One row.
create table source (
    only_row boolean primary key default true check (only_row),
    journal bytea not null,
    version bigint not null,
    live bigint not null
);

-- Sets of rows: the live one, one that is being made anew, and those that are being removed. The rows of
-- each are in a table of its own, rows_<generation> (key bytea primary key, value bytea: JSON), so that they
-- are gone at once, and the planner never takes a new set for an old one.
create table generations (
    generation bigint generated always as identity primary key,
    -- The last position that its rows show.
    checkpoint bigint not null default 0,
    -- How often its rows were changed.
    revision bigint not null default 0,
    is_given_up boolean not null default false
);
