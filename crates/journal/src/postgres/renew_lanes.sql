select
    own_lane, own_epoch, own_stream, own_sequence, own_at, surplus,
    extract(epoch from look_in)::float8
from journal.renew_lanes($1::text::uuid, make_interval(secs => $2))
