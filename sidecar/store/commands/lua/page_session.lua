#!lua
-- Begin, find or end sessions of the account page. Above the limit of an account, the oldest ends.
--
-- KEYS  1 session  2 the account's list of them
-- ARGV  1 begin, find, end or end_all (of the subject in ARGV 2)  2 subject  3 seconds until it expires
--       4 most of an account  5... field, value ...
-- Returns for find the fields and values, none when it is unknown or has expired; else the number of sessions begun or
--       ended
-- include clock.lua
local SESSION, LIST = KEYS[1], KEYS[2]
local function digest_of(key) return string.sub(key, -32) end
local function key_of(digest) return string.sub(SESSION, 1, -33) .. digest end

local function finish(digest)
  redis.call('ZREM', LIST, digest)
  return redis.call('DEL', key_of(digest))
end

if ARGV[1] == 'find' then return redis.call('HGETALL', SESSION) end
if ARGV[1] == 'end' then return finish(digest_of(SESSION)) end
if ARGV[1] == 'end_all' then
  local ended = 0
  for _, digest in ipairs(redis.call('ZRANGE', LIST, 0, -1)) do
    local subject = redis.call('HGET', key_of(digest), 'subject')
    if not subject or subject == ARGV[2] then ended = ended + finish(digest) end
  end
  return ended
end
local over = redis.call('ZRANGEBYSCORE', LIST, '-inf', text(now_ms))
if #over > 0 then redis.call('ZREM', LIST, unpack(over)) end
for _ = 1, redis.call('ZCARD', LIST) + 1 - tonumber(ARGV[4]) do
  finish(redis.call('ZRANGE', LIST, 0, 0)[1])
end
redis.call('DEL', SESSION)
redis.call('HSET', SESSION, unpack(ARGV, 5))
redis.call('EXPIRE', SESSION, ARGV[3])
redis.call('ZADD', LIST, text(now_ms + 1000 * ARGV[3]), digest_of(SESSION))
redis.call('EXPIRE', LIST, ARGV[3])
return 1
