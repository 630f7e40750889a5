#!lua flags=no-writes
-- What recomputing the balances of an account needs at one moment, whatever types its keys have; it resolves
-- nothing. `journal.verify` compares it with the entries.
--
-- KEYS  1 ledger  2 holds  3 usage  4 account
-- Returns {their four types, then ledger and holds as flat pairs, id of the newest entry or '0-0'}
local answer = {}
for i, key in ipairs(KEYS) do answer[i] = redis.call('TYPE', key).ok end
answer[5] = answer[1] == 'hash' and redis.call('HGETALL', KEYS[1]) or {}
answer[6] = answer[2] == 'hash' and redis.call('HGETALL', KEYS[2]) or {}
local newest = answer[3] == 'stream' and redis.call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 1)[1]
answer[7] = newest and newest[1] or '0-0'
return answer
