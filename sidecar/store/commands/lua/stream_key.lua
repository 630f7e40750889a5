#!lua flags=allow-oom
-- Return the key that marks the ids of sessions' requests and events, created once for all sidecars on the store. It
-- may write when memory is short: without the key, no result of an open hold could pass on a resumed stream.
--
-- KEYS  1 stream key
-- ARGV  1 proposed key, stored if there is none: 64 hexadecimal digits
-- Returns the stored key
-- include checked.lua
-- include types.lua
local kept = has_type(KEYS[1], 'string') and redis.call('GET', KEYS[1])
if kept == false and redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('SET', KEYS[1], ARGV[1])
  return ARGV[1]
end
if not kept or #kept ~= 64 or string.find(kept, '[^0-9a-f]') then
  malformed(KEYS[1], 'value', 'a key of 64 hexadecimal digits')
end
return kept
