select tile.level, tile.tile_index, tile.hashes
from unnest($2::integer[], $3::bigint[]) with ordinality as wanted (level, tile_index, number)
join seal.tiles as tile
    on tile.log = $1::uuid and tile.level = wanted.level and tile.tile_index = wanted.tile_index
order by wanted.number
