-- Version of a record. `decoding.record_version` is the model.
-- Returns the version of a record from its flat pairs; every changed field changes it, whichever program wrote that. The
-- order of the fields does not matter.
local function version_of(flat)
  local parts = {}
  for i = 1, #flat, 2 do parts[#parts + 1] = redis.sha1hex(#flat[i] .. ':' .. flat[i] .. flat[i + 1]) end
  table.sort(parts)
  return redis.sha1hex(table.concat(parts))
end
