select count(*)
from sqlite_schema
where type = 'table' and name in ('events', 'journal')
