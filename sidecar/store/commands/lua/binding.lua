#!lua
-- Bind sessions or tasks to their caller, check which of them belong to the caller (and extend their lives), or end
-- them. A binding never changes its caller: when one of them belongs to another caller, none is bound. A caller has a
-- limit, and an account has one for all its callers. Above it, expired ones are dropped first, then the least recently
-- used are evicted; one with an open stream comes last. When the account is full, a caller loses its own, unless one of
-- another caller was not used for an hour.
--
-- KEYS  1 the account's list of them  2 the caller's  3... sessions or tasks
-- ARGV  1 bind, touch, listen (a stream is open: a touch that lasts for a minute), modes (a touch that reads them) or
--       end
--       2 digest of subject and client id  3 subject  4 client id
--       5 seconds until an unused one expires; a longer expiry stays
--       6 most of an account  7 most of a caller
--       8 modes in which the client of a session can ask its user; '' none
-- Returns {per session or task 1 when it belongs to the caller, else 0},
--       {per evicted one: digest of its id, subject, client id, the list that was full (caller, account)},
--       the modes of the first, if it belongs to the caller and they were asked for
-- include clock.lua
-- include seconds.lua
-- include consent_list.lua
local LIST, OWN, LISTED_FOR, LOOKED_AT, IDLE, OPEN = KEYS[1], KEYS[2], 2592000, 2000, 3600000, 60000
local mine, others, new, evicted = {}, false, 0, {}
for i = 3, #KEYS do
  local bound = redis.call('HGET', KEYS[i], 'consent')
  mine[i - 2] = bound == ARGV[2] and 1 or 0
  if not bound then new = new + 1 end
  others = others or (bound and mine[i - 2] == 0)
end

local function digest_of(key) return string.sub(key, -32) end

-- Returns the key of a list's member: it differs from the given keys only in the digest.
local function key_of(digest) return string.sub(KEYS[3], 1, -33) .. digest end

local looked, passed = 0, {}

-- Returns the least recently used entry of a list, and the ms since its last use. The list has a known use, the record
-- has the last one. An entry that was used since moves to its place, so that each use is examined once.
local function least(list)
  local open
  while true do
    local found = redis.call('ZRANGE', list, 0, 0, 'WITHSCORES')
    local digest, score = found[1], tonumber(found[2])
    if not digest then return nil end
    local record = redis.pcall('HMGET', key_of(digest), 'consent', 'used', 'at', 'open')
    if record.err or not record[1] then return digest, IDLE end
    local used = tonumber(record[2]) or (tonumber(record[3]) or 0) * 1000
    local listens = (tonumber(record[4]) or 0) > now_ms
    looked = looked + 1
    if looked > LOOKED_AT then return digest, 0 end
    if listens then used = now_ms end
    if listens and not passed[list .. digest] then
      open = open or digest
      passed[list .. digest] = true
    elseif used <= score then
      return listens and open or digest, now_ms - used
    end
    redis.call('ZADD', list, text(used), digest)
  end
end

local function evict(digest, full)
  local record = redis.pcall('HMGET', key_of(digest), 'consent', 'subject', 'client_id')
  redis.call('DEL', key_of(digest))
  redis.call('ZREM', LIST, digest)
  redis.call('ZREM', OWN, digest)
  if record.err or not record[1] then return end -- expired before
  if record[1] ~= ARGV[2] then redis.pcall('ZREM', LIST .. ':' .. record[1], digest) end
  evicted[#evicted + 1] = {digest, record[2] or '', record[3] or '', full}
end

local function make_room()
  while redis.call('ZCARD', OWN) + new > tonumber(ARGV[7]) do
    local digest = least(OWN)
    if not digest then break end
    evict(digest, 'caller')
  end
  while redis.call('ZCARD', LIST) + new > tonumber(ARGV[6]) do
    local digest, idle = least(LIST)
    if not digest then break end
    if idle < IDLE then digest = least(OWN) or digest end
    evict(digest, 'account')
  end
end

local function bind()
  redis.call('ZCARD', LIST) -- lists of the wrong type fail here, before the first write
  redis.call('ZCARD', OWN)
  make_room()
  for i = 3, #KEYS do
    local key = KEYS[i]
    redis.call('HSET', key, 'consent', ARGV[2], 'subject', ARGV[3], 'client_id', ARGV[4], 'at', seconds())
    if ARGV[8] == '' then
      redis.call('HDEL', key, 'elicitation')
    else
      redis.call('HSET', key, 'elicitation', ARGV[8])
    end
    if mine[i - 2] == 0 then
      redis.call('EXPIRE', key, ARGV[5])
      redis.call('ZADD', LIST, text(now_ms), digest_of(key))
      redis.call('ZADD', OWN, text(now_ms), digest_of(key))
    end
    mine[i - 2] = 1
  end
  redis.call('EXPIRE', LIST, LISTED_FOR)
  redis.call('EXPIRE', OWN, LISTED_FOR)
  -- A program that has written the consent directly may not have listed it.
  local consent = string.match(KEYS[3], '^(.-}:)') .. 'consent:' .. ARGV[2]
  if redis.call('EXISTS', consent) == 1 then list_consent(consent) end
end

if ARGV[1] == 'bind' then
  if others then return {mine, evicted} end
  bind()
end
for i = 3, #KEYS do
  if mine[i - 2] == 1 and ARGV[1] == 'end' then
    redis.call('DEL', KEYS[i])
    redis.pcall('ZREM', LIST, digest_of(KEYS[i]))
    redis.pcall('ZREM', OWN, digest_of(KEYS[i]))
  elseif mine[i - 2] == 1 then
    redis.call('HSET', KEYS[i], 'used', text(now_ms))
    if ARGV[1] == 'listen' then redis.call('HSET', KEYS[i], 'open', text(now_ms + OPEN)) end
    redis.call('EXPIRE', KEYS[i], ARGV[5], 'GT')
  end
end
return {mine, evicted, ARGV[1] == 'modes' and mine[1] == 1 and redis.call('HGET', KEYS[3], 'elicitation') or nil}
