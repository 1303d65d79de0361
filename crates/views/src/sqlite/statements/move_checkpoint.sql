update source
set checkpoint = ?2
where checkpoint = ?1
returning folded
