update state.roles
set lease_ends = clock_timestamp() + make_interval(secs => $4)
where name = $1 and worker = $2 and epoch = $3
