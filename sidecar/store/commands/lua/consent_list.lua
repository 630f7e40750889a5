-- List of an account's consents, by the time of a known change or use. Needs clock.lua.
-- Put a record on the list. It does not fail: a list of the wrong type must neither keep access alive nor end it.
local function list_consent(key)
  local prefix, place = string.match(key, '^(.-}:)(.*)$')
  local list, most = prefix .. 'consents', 10000
  redis.pcall('ZADD', list, text(now_ms), place)
  local count = redis.pcall('ZCARD', list)
  if type(count) == 'number' and count > most then
    redis.call('ZREM', list, unpack(redis.call('ZRANGE', list, 0, math.min(count - most, 100) - 1)))
  end
end
