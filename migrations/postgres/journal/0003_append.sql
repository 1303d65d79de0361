-- Appends what can be, in the order given, and stores the lanes' progress with it. Called on its own,
-- so that it is a transaction by itself and no lock waits for a client.
--
-- What the arrays speak of, each numbered from 1:
-- - streams: the distinct streams, and the sequence that each stream's first append expects;
-- - issuers, keys: the distinct command keys;
-- - append_…: one element an append: its request, claim (null: of no lane that is fenced), stream,
--   key, expected sequence, how many events it has, how many those before it have, metadata;
-- - event_…: one element an event, in order: its append, its number within that;
-- - claim_…: a lane's epoch and the last progress in it, each lane and epoch once;
-- - dead_…: a command that was set aside, and the claim that it came by.
-- follows: each append expects what those before it leave behind, and no key comes twice.
--
-- If everything is appended, one row: no append, the time, the first event's position. Else a row for
-- each append: its outcome (0 committed, 1 duplicate, 2 conflict, 3 fenced), the time, the position of
-- its first event, or its original's, and then the rest of that event.
--
-- The settings keep to index look-ups, whatever the statistics of a young table suggest: with the
-- head locked, nobody else can go on.
create function journal.append(
    stream_types text[], stream_ids text[], stream_expected bigint[],
    issuers text[], keys bytea[],
    append_request integer[], append_claim integer[], append_stream integer[],
    append_key integer[], append_expected bigint[], append_events integer[],
    append_before bigint[], append_metadata text[],
    event_append integer[], event_number integer[], event_types text[], event_versions text[],
    event_payloads text[],
    claim_lanes integer[], claim_epochs bigint[],
    claim_streams bigint[], claim_sequences bigint[], claim_ats bigint[],
    dead_claims integer[], dead_commands bytea[], dead_reasons text[],
    follows boolean
)
returns table (
    append integer, outcome integer, at_time bigint, at_position bigint,
    original_type text, original_id text, original_sequence bigint,
    original_event_type text, original_event_version text,
    original_payload text, original_metadata text, original_time bigint,
    original_issuer text, original_key bytea
)
language plpgsql
set search_path = pg_catalog, pg_temp
set lock_timeout = '3500ms'
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
declare
    appends constant integer := cardinality(append_request);
    events constant integer := cardinality(event_append);
    before bigint;
    head bigint;
    told_at bigint;
    moved integer;
    fenced boolean[] := '{}';
    -- By stream: its last sequence, and the last request that met a conflict there.
    heads bigint[];
    void integer[];
    -- By key: where the event stands that used it.
    used bigint[];
    -- By append: what comes of it, how many events of the call go before its own, and where its original
    -- stands. The latter two are null where there is no such thing.
    outcomes integer[];
    offsets bigint[];
    originals bigint[];
    stream integer;
    key_number integer;
begin
    perform journal.write_durably();
    -- As if all were appended, which it most often is.
    update journal.journal_head as h
    set
        position = h.position + events,
        recorded_at = greatest(
            h.recorded_at, floor(extract(epoch from clock_timestamp()) * 1000)::bigint
        )
    where h.one
    returning h.position - events, h.recorded_at into strict before, told_at;

    if cardinality(claim_lanes) > 1 then
        -- In the order of all who take several.
        perform l.lane from journal.lanes as l where l.lane = any (claim_lanes)
        order by l.lane for no key update;
    end if;
    if cardinality(claim_lanes) > 0 then
        update journal.lanes as l
        set
            cursor_stream = coalesce(c.stream, l.cursor_stream),
            cursor_sequence = coalesce(c.sequence, l.cursor_sequence),
            cursor_at = coalesce(c.at, l.cursor_at)
        from unnest(claim_lanes, claim_epochs, claim_streams, claim_sequences, claim_ats)
            as c (lane, epoch, stream, sequence, at)
        where l.lane = c.lane and l.epoch = c.epoch;
        get diagnostics moved = row_count;
        if moved < cardinality(claim_lanes) then
            fenced := array(
                select l.lane is null
                from unnest(claim_lanes, claim_epochs) with ordinality as c (lane, epoch, number)
                left join journal.lanes as l on l.lane = c.lane and l.epoch = c.epoch
                order by c.number
            );
            follows := false;
        end if;
    end if;
    if cardinality(dead_claims) > 0 then
        insert into journal.dead_letters (
            lane, command, reason, set_aside_at, cursor_stream, cursor_sequence, cursor_at
        )
        select
            claim_lanes[d.claim], d.command, d.reason, clock_timestamp(),
            claim_streams[d.claim], claim_sequences[d.claim], claim_ats[d.claim]
        from unnest(dead_claims, dead_commands, dead_reasons) as d (claim, command, reason)
        where fenced[d.claim] is not true;
    end if;

    if follows
        and not exists (
            select
            from unnest(issuers, keys) as k (issuer, key)
            join journal.events as e on e.issuer = k.issuer and e.key = k.key
        )
        and not exists (
            select
            from unnest(stream_types, stream_ids, stream_expected) as s (type, id, expected)
            where s.expected <> coalesce(
                (
                    select e.sequence
                    from journal.events as e
                    where e.aggregate_type = s.type and e.aggregate_id = s.id
                    order by e.sequence desc
                    limit 1
                ),
                0
            )
        )
    then
        offsets := append_before;
        head := before + events;
    else
        used := array(
            select e.position
            from unnest(issuers, keys) with ordinality as k (issuer, key, number)
            left join journal.events as e on e.issuer = k.issuer and e.key = k.key
            order by k.number
        );
        heads := array(
            select coalesce(
                (
                    select e.sequence
                    from journal.events as e
                    where e.aggregate_type = s.type and e.aggregate_id = s.id
                    order by e.sequence desc
                    limit 1
                ),
                0
            )
            from unnest(stream_types, stream_ids) with ordinality as s (type, id, number)
            order by s.number
        );
        head := before;
        void := array_fill(0, array[cardinality(heads)]);
        outcomes := array_fill(0, array[appends]);
        offsets := array_fill(null::bigint, array[appends]);
        originals := offsets;
        for n in 1 .. appends loop
            stream := append_stream[n];
            key_number := append_key[n];
            if fenced[append_claim[n]] then
                outcomes[n] := 3;
            elsif used[key_number] is not null then
                outcomes[n] := 1;
                originals[n] := used[key_number];
            elsif heads[stream] <> append_expected[n] or void[stream] = append_request[n] then
                outcomes[n] := 2;
                void[stream] := append_request[n];
            else
                offsets[n] := head - before;
                head := head + append_events[n];
                heads[stream] := heads[stream] + append_events[n];
                used[key_number] := head;
            end if;
        end loop;
        update journal.journal_head as h set position = head where h.one;
    end if;

    if head > before then
        insert into journal.events (
            aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
            position, recorded_at, issuer, key
        )
        select
            stream_types[append_stream[e.append]], stream_ids[append_stream[e.append]],
            append_expected[e.append] + e.number, e.type, e.version, e.payload::json,
            append_metadata[e.append]::json, before + offsets[e.append] + e.number, told_at,
            case when e.number = append_events[e.append] then issuers[append_key[e.append]] end,
            case when e.number = append_events[e.append] then keys[append_key[e.append]] end
        from unnest(event_append, event_number, event_types, event_versions, event_payloads)
            as e (append, number, type, version, payload)
        where offsets[e.append] is not null;
    end if;

    if outcomes is null then
        at_time := told_at;
        at_position := before + 1;
        return next;
    else
        return query
        select
            a.number::integer, a.outcome, told_at, coalesce(before + 1 + a.earlier, a.original),
            e.aggregate_type, e.aggregate_id, e.sequence, e.event_type, e.event_version,
            e.payload::text, e.metadata::text, e.recorded_at, e.issuer, e.key
        from unnest(outcomes, offsets, originals)
            with ordinality as a (outcome, earlier, original, number)
        left join journal.events as e on a.outcome = 1 and e.position = a.original
        order by a.number;
    end if;
end;
$$;
