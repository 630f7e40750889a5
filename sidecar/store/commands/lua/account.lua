-- Keys of an account and the store's clock, read by `open_account`; with ledger.lua. Scripts that need neither for most
-- calls have them from here, and functions of the server begin each call anew.
-- include text.lua
local now, now_ms -- seconds and ms since the epoch
local LEDGER, HOLDS, LEASES, PAID, REQUESTS, USAGE
-- include ledger.lua

-- Read the clock, and forget the account of the call before. `first` is the place of the ledger in KEYS.
local function open_account(first)
  local clock = redis.call('TIME')
  now = tonumber(clock[1])
  now_ms = now * 1000 + math.floor(tonumber(clock[2]) / 1000)
  LEDGER, HOLDS, LEASES, PAID, REQUESTS, USAGE = unpack(KEYS, first, first + 5)
  cells, changed, journal, lists = {}, {}, {}, {}
end
