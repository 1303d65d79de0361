update notifications
set read_at = ?3
where user_id = ?1 and position < ?2 and read_at is null
