update state.roles
set worker = null
where name = $1 and worker = $2 and epoch = $3
