-- What the index tables say must be so, and tell of each event up to where they are complete.
select
    (
        select count(*)
        from stream_index as s
        left join events as e on e.position = s.position
        where (s.aggregate_type, s.aggregate_id, s.sequence)
            is not (e.aggregate_type, e.aggregate_id, e.sequence)
    ) + (
        select count(*)
        from command_index as c
        left join events as e on e.position = c.position
        where (c.issuer, c.key) is not (e.issuer, e.key)
    ) + (
        select
            abs(j.indexed - (select count(*) from stream_index where position <= j.indexed))
            + abs(
                (select count(key) from events where position <= j.indexed)
                - (select count(*) from command_index where position <= j.indexed)
            )
        from journal as j
    )
