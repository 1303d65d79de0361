insert into epochs (role, epoch)
values (?, 1)
on conflict (role) do update
set epoch = epoch + 1
returning epoch
