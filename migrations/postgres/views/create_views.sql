-- The read models, in whichever schema is the first of the search path: they are made anew beside
-- those in use. They can be made from the journal at any time, so this file may be changed in place,
-- together with the version that the code gives.
--
-- What people wrote is kept as UTF-8 bytes: text takes no NUL. Ids are compared byte by byte ("C").

-- What these views show: one row.
create table source (
    one boolean primary key default true check (one),
    journal bytea not null,
    version bigint not null,
    checkpoint bigint not null
);

-- A conversation's key is the position of its first event: short, so that what refers to it is.
create table conversations (
    key bigint primary key,
    id text collate "C" not null unique,
    kind text not null,
    title bytea,
    created_by text collate "C" not null,
    created_at bigint not null,
    last_sequence bigint not null default 0,
    -- Of the latest activity: the newest message, or the start.
    last_position bigint not null,
    updated_at bigint not null,
    -- Where what was said elsewhere ends, which is no part of anyone's stream; 0 if nothing was.
    history_position bigint not null default 0,
    -- The last sequence of it that every member has read.
    read_history bigint not null default 0
) with (fillfactor = 75); -- Each message changes one: with room in its page, no index has to know.

create table members (
    conversation bigint not null,
    user_id text collate "C" not null,
    joined_position bigint not null,
    -- The read mark, and how many of the messages up to it are the member's own.
    read_sequence bigint not null default 0,
    own_at_read bigint not null default 0,
    -- How many messages the member has sent, those of the history that all have read left out.
    own_count bigint not null default 0,
    primary key (conversation, user_id)
) with (fillfactor = 75);

create index members_by_user on members (user_id, joined_position);

create table messages (
    position bigint primary key,
    id bytea not null unique,
    conversation bigint not null,
    sequence bigint not null,
    -- The sender's joined_position, which names a membership in few bytes.
    sender bigint not null,
    sender_id text collate "C" not null,
    sender_role bytea not null,
    created_at bigint not null,
    -- Empty where it is sealed, together with attachments and e-mail address.
    content bytea not null,
    -- A JSON array; null for none.
    attachments text,
    email bytea,
    client_message_id bytea,
    -- The key's 16 bytes, and what is sealed with it.
    sealed bytea
);

create unique index messages_by_sequence on messages (conversation, sequence)
    include (sender, position);

-- A user's stream begins with each conversation's first message above a position.
create index messages_by_position on messages (conversation, position);

create table notifications (
    position bigint primary key,
    id bytea not null unique,
    user_id text collate "C" not null,
    message_position bigint not null,
    created_at bigint not null,
    read_at bigint
);

create index notifications_by_user on notifications (user_id, position);
create index notifications_unread on notifications (user_id, position) where read_at is null;
create index notifications_by_message on notifications (message_position, user_id);

-- Every advance of a user's delivered mark.
create table deliveries (
    user_id text collate "C" not null,
    through bigint not null,
    outcome text not null,
    recorded_at bigint not null,
    primary key (user_id, through)
);

-- Lists that were pushed whole.
create table refreshes (
    position bigint primary key,
    list text not null,
    user_id text collate "C" not null
);
