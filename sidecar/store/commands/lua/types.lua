-- Types of keys that other programs may have written.
local function has_type(key, kind)
  local found = redis.call('TYPE', key).ok
  return found == kind or found == 'none'
end
