-- What the log amounts to, asked of a Parquet export by DuckDB.
--
--   verbatim export --format parquet --out ./export
--   duckdb -init docs/analytics.sql
--
-- Each view says what one of the calls under /app/analytics answers; docs/analytics.md says what the
-- figures mean. Change them, or ask them more: from deliveries_by_hour where pending > 0;

set variable export = coalesce(getvariable('export'), 'export/*.parquet');

-- ## The events, with what the questions below are about. Times are UTC.
create or replace view events as
select
    position,
    make_timestamp(epoch_us(recorded_at)) as recorded_at,
    aggregate_id,
    event_type,
    conversation_id,
    actor_id,
    sender_role as role,
    payload::json as payload
from read_parquet(getvariable('export'));

create or replace view messages as
select position, recorded_at, conversation_id, actor_id as sender_id, role
from events
where event_type = 'MessageSent' and (payload->'imported') is null;

-- ## Messages by hour.
create or replace view messages_by_hour as
select date_trunc('hour', recorded_at) as start, count(*) as messages
from messages
group by all
order by all;

from messages_by_hour;

-- ## Messages by day and conversation.
create or replace view messages_by_day_and_conversation as
select date_trunc('day', recorded_at)::timestamp as start, conversation_id, count(*) as messages
from messages
group by all
order by all;

from messages_by_day_and_conversation limit 20;

-- ## Users who sent a message, by day and role.
create or replace view users_by_day_and_role as
select date_trunc('day', recorded_at)::timestamp as start, role, count(distinct sender_id) as users
from messages
group by all
order by all;

from users_by_day_and_role;

-- ## Users who sent a message, by hour.
create or replace view users_by_hour as
select date_trunc('hour', recorded_at) as start, count(distinct sender_id) as users
from messages
group by all
order by all;

from users_by_hour;

-- ## Each message and recipient: when it had arrived, and whether the recipient had been noted as
-- ## offline until then.
create or replace view deliveries as
with
members as (
    select conversation_id, payload ->> 'memberId' as member_id, min(position) as joined
    from events
    where event_type = 'MemberJoined'
    group by all
),
marks as (
    select
        aggregate_id as user_id,
        position,
        recorded_at,
        (payload ->> 'through')::bigint as through,
        payload ->> 'outcome' as outcome
    from events
    where event_type = 'DeliveryAdvanced'
),
notes as (
    select aggregate_id as user_id, (payload ->> 'messagePosition')::bigint as message, position
    from events
    where event_type = 'NotificationCreated'
),
recipients as (
    select messages.position, messages.recorded_at, messages.conversation_id, messages.role, member_id
    from messages
    join members using (conversation_id)
    where joined < messages.position and member_id <> sender_id
),
arrivals as (
    select
        recipients.*,
        min(marks.position) as arrived,
        arg_min(marks.recorded_at, marks.position) as arrived_at,
        arg_min(marks.outcome, marks.position) as outcome
    from recipients
    left join marks
        on user_id = member_id
        and marks.position > recipients.position
        and through >= recipients.position
    group by all
)
select
    position,
    recorded_at,
    conversation_id,
    role,
    member_id,
    outcome,
    epoch_ms(arrived_at) - epoch_ms(recorded_at) as took_ms,
    exists (
        from notes
        where notes.user_id = member_id
            and notes.message = arrivals.position
            and (arrived is null or notes.position < arrived)
    ) as noted
from arrivals;

-- ## What became of messages, by the hour in which they were sent.
create or replace view deliveries_by_hour as
select
    date_trunc('hour', recorded_at) as start,
    count(*) as recipients,
    count(*) filter (outcome = 'acknowledged') as acknowledged,
    count(*) filter (outcome = 'presumed') as presumed,
    count(*) filter (outcome is null and noted) as offline,
    count(*) filter (outcome is null and not noted) as pending,
    count(*) filter (noted) as notified,
    sum(took_ms) // count(took_ms) as mean_ms,
    quantile_disc(took_ms, 0.5) as p50_ms,
    quantile_disc(took_ms, 0.9) as p90_ms,
    quantile_disc(took_ms, 0.99) as p99_ms,
    max(took_ms) as max_ms
from deliveries
group by start
order by start;

from deliveries_by_hour;

-- ## Each user's first message that waited for an answer, and when an agent wrote next.
create or replace view questions as
with
spoken as (
    select
        *,
        lag(role) over conversation as before,
        min(recorded_at) filter (role = 'agent') over (
            partition by conversation_id order by position
            rows between 1 following and unbounded following
        ) as answered_at
    from messages
    where role <> 'system'
    window conversation as (partition by conversation_id order by position)
)
select
    position,
    recorded_at,
    conversation_id,
    role,
    epoch_ms(answered_at) - epoch_ms(recorded_at) as waited_ms
from spoken
where role <> 'agent' and coalesce(before, 'agent') = 'agent';

-- ## How long agents took to answer, by the hour of the question.
create or replace view responses_by_hour as
select
    date_trunc('hour', recorded_at) as start,
    count(*) as questions,
    count(waited_ms) as answered,
    sum(waited_ms) // count(waited_ms) as mean_ms,
    quantile_disc(waited_ms, 0.5) as p50_ms,
    quantile_disc(waited_ms, 0.9) as p90_ms,
    quantile_disc(waited_ms, 0.99) as p99_ms,
    max(waited_ms) as max_ms
from questions
group by start
order by start;

from responses_by_hour;

-- ## How many were connected, by hour. A sample stands until the next one's time begins, the last until
-- ## the last event of the log.
create or replace view connections_by_hour as
with
samples as (
    select
        position,
        (payload ->> 'at')::bigint as ended_at,
        (payload ->> 'seconds')::bigint as seconds,
        (payload ->> 'sockets')::bigint as sockets,
        (payload ->> 'users')::bigint as users,
        (payload ->> 'peakSockets')::bigint as peak
    from events
    where event_type = 'ConnectionsSampled'
),
spans as (
    select
        sockets,
        users,
        peak,
        greatest(ended_at - seconds, lag(ended_at) over log) as begun,
        greatest(
            ended_at,
            coalesce(
                lead(ended_at - seconds) over log,
                (select max(epoch_ms(recorded_at)) // 1000 from events) // seconds * seconds
            )
        ) as ended
    from samples
    window log as (order by position)
),
parts as (
    select
        *,
        unnest(range(begun // 3600 * 3600, ended, 3600)) as hour,
        least(ended, hour + 3600) - greatest(begun, hour) as lasted
    from spans
)
select
    make_timestamp(hour * 1000000) as start,
    sum(lasted) as seconds,
    round(sum(sockets * lasted) / sum(lasted), 3) as mean_sockets,
    max(peak) as peak_sockets,
    round(sum(users * lasted) / sum(lasted), 3) as mean_users,
    max(users) as peak_users
from parts
group by hour
having max(peak) > 0
order by start;

from connections_by_hour;
