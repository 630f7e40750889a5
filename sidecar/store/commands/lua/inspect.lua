#!lua
-- Read the current state of an account, after resolving expired holds. `changes.inspected` reads the reply.
--
-- KEYS  1 ledger  2 holds  3 leases  4 paid  5 requests  6 usage  7 account
-- Returns {ms since the epoch, account, ledger, holds, leases}, the last four as flat pairs
-- include clock.lua
local LEDGER, HOLDS, LEASES, PAID, REQUESTS, USAGE = unpack(KEYS)
-- include ledger.lua
-- include expiry.lua
local account = redis.call('HGETALL', KEYS[7]) -- first: a record of the wrong type fails before the first write
expire()
flush()
return {
  now_ms,
  account,
  redis.call('HGETALL', LEDGER),
  redis.call('HGETALL', HOLDS),
  redis.call('ZRANGE', LEASES, 0, -1, 'WITHSCORES'),
}
