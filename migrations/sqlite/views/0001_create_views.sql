-- The read models. They can be made anew from the journal at any time, so this file may be changed
-- in place, together with the version that the code gives.

-- What these views show: one row.
create table source (
    only_row integer primary key check (only_row = 1),
    journal blob not null,
    version integer not null,
    checkpoint integer not null,
    -- Messages up to this position are in the folded index, those above it in the recent one.
    folded integer not null
);

-- A conversation's key is the position of its first event: short, so that what refers to it is.
create table conversations (
    key integer primary key,
    id text not null unique,
    kind text not null,
    title text,
    created_by text not null,
    created_at integer not null,
    last_sequence integer not null default 0,
    -- Of the latest activity: the newest message, or the start.
    last_position integer not null,
    updated_at integer not null,
    -- Where what was said elsewhere ends, which is no part of anyone's stream; 0 if nothing was.
    history_position integer not null default 0,
    -- The last sequence of it that every member has read.
    read_history integer not null default 0
);

create table members (
    conversation integer not null,
    user_id text not null,
    joined_position integer not null,
    -- The read mark, and how many of the messages up to it are the member's own.
    read_sequence integer not null default 0,
    own_at_read integer not null default 0,
    -- How many messages the member has sent, those of the history that all have read left out.
    own_count integer not null default 0,
    primary key (conversation, user_id)
) without rowid;

create index members_by_user on members (user_id, joined_position);

create table messages (
    position integer primary key,
    id blob not null unique,
    conversation integer not null,
    sequence integer not null,
    -- The sender's joined_position, which names a membership in few bytes.
    sender integer not null,
    sender_id text not null,
    sender_role text not null,
    created_at integer not null,
    -- Empty where it is sealed, together with attachments and e-mail address.
    content text not null,
    -- A JSON array; null for none.
    attachments text,
    email text,
    client_message_id text,
    -- The key's 16 bytes, and what is sealed with it.
    sealed blob
);

-- A conversation's messages by sequence, in two parts. Each message of a batch may belong to another
-- conversation, and would change another page of a large index; so the newest messages are entered
-- in a small one, and now and then all of that is folded into the large one, in its order. An entry
-- is in one of the two.
create table recent_index (
    conversation integer not null,
    sequence integer not null,
    sender integer not null,
    position integer not null,
    primary key (conversation, sequence)
) without rowid;

create table folded_index (
    conversation integer not null,
    sequence integer not null,
    sender integer not null,
    position integer not null,
    primary key (conversation, sequence)
) without rowid;

create table notifications (
    position integer primary key,
    id blob not null unique,
    user_id text not null,
    message_position integer not null,
    created_at integer not null,
    read_at integer
);

create index notifications_by_user on notifications (user_id, position);
create index notifications_unread on notifications (user_id, position) where read_at is null;
create index notifications_by_message on notifications (message_position, user_id);

-- Every advance of a user's delivered mark.
create table deliveries (
    user_id text not null,
    through integer not null,
    outcome text not null,
    recorded_at integer not null,
    primary key (user_id, through)
) without rowid;

-- Lists that were pushed whole.
create table refreshes (
    position integer primary key,
    list text not null,
    user_id text not null
);
