#!lua
-- Bind sessions or tasks to their caller, look which of them are the caller's (those live on), or end them.
-- None is ever taken from its caller: nothing is bound when one of them is another's. An account has so many
-- and no more: beyond that those that have expired are forgotten, then the oldest are ended.
--
-- KEYS  1 the account's list of them  2... sessions or tasks
-- ARGV  1 bind, touch or end  2 digest of subject and client id  3 subject  4 client id
--       5 seconds they live without being used; what has longer to live keeps it  6 how many an account has
-- Returns per session or task 1 when it is the caller's, else 0
-- include clock.lua
local LIST, LISTED_FOR, LOOKED_AT = KEYS[1], 2592000, 64
local mine, others = {}, false
for i = 2, #KEYS do
  local bound = redis.call('HGET', KEYS[i], 'consent')
  mine[i - 1] = bound == ARGV[2] and 1 or 0
  others = others or (bound and mine[i - 1] == 0)
end

local function digest_of(key) return string.sub(key, -32) end

-- Keys of the list's members: they differ from those given in their digest alone.
local function key_of(digest) return string.sub(KEYS[2], 1, -33) .. digest end

local function forget(digest)
  redis.call('DEL', key_of(digest))
  redis.call('ZREM', LIST, digest)
end

local function trim()
  local over = redis.call('ZCARD', LIST) - tonumber(ARGV[6])
  if over <= 0 then return end
  for _, digest in ipairs(redis.call('ZRANGE', LIST, 0, LOOKED_AT + over)) do
    if over > 0 and redis.call('EXISTS', key_of(digest)) == 0 then
      forget(digest)
      over = over - 1
    end
  end
  if over <= 0 then return end
  for _, digest in ipairs(redis.call('ZRANGE', LIST, 0, over - 1)) do forget(digest) end
end

if ARGV[1] == 'bind' then
  if others then return mine end
  redis.call('ZCARD', LIST) -- a list of the wrong type refuses here, before anything is written
  for i = 2, #KEYS do
    local key = KEYS[i]
    redis.call('HSET', key, 'consent', ARGV[2], 'subject', ARGV[3], 'client_id', ARGV[4], 'at', seconds())
    if mine[i - 1] == 0 then
      redis.call('EXPIRE', key, ARGV[5])
      redis.call('ZADD', LIST, text(now_ms), digest_of(key))
    end
    mine[i - 1] = 1
  end
  redis.call('EXPIRE', LIST, LISTED_FOR)
  trim()
end
for i = 2, #KEYS do
  if mine[i - 1] == 1 and ARGV[1] == 'end' then
    redis.call('DEL', KEYS[i])
    redis.pcall('ZREM', LIST, digest_of(KEYS[i]))
  elseif mine[i - 1] == 1 then
    redis.call('EXPIRE', KEYS[i], ARGV[5], 'GT')
  end
end
return mine
