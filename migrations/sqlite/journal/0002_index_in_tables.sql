-- The keys of events, in tables that the writer fills some way behind the events: each event of a
-- transaction may belong to another stream and come from another issuer, and would change a page of
-- its own in either index. What is not entered yet, the writer knows, and finds again from the events.
create table stream_index (
    aggregate_type text not null,
    aggregate_id text not null,
    sequence integer not null,
    position integer not null,
    primary key (aggregate_type, aggregate_id, sequence)
) strict, without rowid;

create table command_index (
    issuer text not null,
    key text not null,
    position integer not null,
    primary key (issuer, key)
) strict, without rowid;

insert into stream_index
select aggregate_type, aggregate_id, sequence, position
from events
order by aggregate_type, aggregate_id, sequence;

insert into command_index
select issuer, key, position
from events
where key is not null
order by issuer, key;

drop index events_stream;
drop index events_command;

-- All events up to this position are in both.
alter table journal add column indexed integer not null default 0;
update journal set indexed = (select coalesce(max(position), 0) from events);
