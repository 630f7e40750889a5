#!lua flags=no-writes
-- Read the stored state of an account at one moment, whatever types its keys have; it resolves no hold.
-- `verification.verify` compares it with the entries.
--
-- KEYS  1 ledger  2 holds  3 usage  4 account  5 paid
-- Returns {their five types, then ledger and holds as flat pairs, id of the newest entry or '0-0', number of
--       paid items, ms since the epoch}
-- include clock.lua
local answer = {}
for i, key in ipairs(KEYS) do answer[i] = redis.call('TYPE', key).ok end
answer[6] = answer[1] == 'hash' and redis.call('HGETALL', KEYS[1]) or {}
answer[7] = answer[2] == 'hash' and redis.call('HGETALL', KEYS[2]) or {}
local newest = answer[3] == 'stream' and redis.call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 1)[1]
answer[8] = newest and newest[1] or '0-0'
answer[9] = answer[5] == 'set' and redis.call('SCARD', KEYS[5]) or 0
answer[10] = now_ms
return answer
