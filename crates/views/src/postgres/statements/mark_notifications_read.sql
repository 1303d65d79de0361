update views.notifications
set read_at = $3
where user_id = $1
    and position < $2
    and read_at is null
    and ($4::bytea[] is null or id = any ($4))
