delete from watches
where reactor = ? and user_id in (select value from json_each(?))
