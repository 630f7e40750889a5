#!lua
-- Keep a login at the account page between the redirect to the issuer and its callback, or take it, once. When there
-- are too many, the oldest is dropped: logins cost nothing to begin, so they may not fill the store.
--
-- KEYS  1 pending logins  2 when they expire
-- ARGV  1 begin or take  2 digest of the state  3 seconds until it expires  4 most pending logins  5 its document
-- Returns 1 for begin; for take the document, or false when it is unknown, taken or expired
-- include clock.lua
local PENDING, ENDS, BATCH = KEYS[1], KEYS[2], 1000

local function drop(states)
  if #states > 0 then
    redis.call('HDEL', PENDING, unpack(states))
    redis.call('ZREM', ENDS, unpack(states))
  end
end

if ARGV[1] == 'take' then
  local kept = redis.call('HGET', PENDING, ARGV[2]) or ''
  local ends, document = string.match(kept, '^(%d+) (.*)$')
  drop({ARGV[2]})
  return ends and tonumber(ends) > now_ms and document
end
drop(redis.call('ZRANGEBYSCORE', ENDS, '-inf', text(now_ms), 'LIMIT', 0, BATCH))
local above = redis.call('ZCARD', ENDS) + 1 - tonumber(ARGV[4])
if above > 0 then drop(redis.call('ZRANGE', ENDS, 0, math.min(above, BATCH) - 1)) end
local ends = text(now_ms + 1000 * ARGV[3])
redis.call('HSET', PENDING, ARGV[2], ends .. ' ' .. ARGV[5])
redis.call('ZADD', ENDS, ends, ARGV[2])
redis.call('EXPIRE', PENDING, ARGV[3])
redis.call('EXPIRE', ENDS, ARGV[3])
return 1
