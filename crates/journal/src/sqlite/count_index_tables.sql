select count(*)
from sqlite_schema
where type = 'table' and name in ('stream_index', 'command_index')
