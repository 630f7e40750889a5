-- Keys of an account, the store's clock and the ledger in memory, for scripts that most calls run without them.
-- `open_account` reads them for one call.
-- include text.lua
local now, now_ms -- seconds and ms since the epoch
local LEDGER, HOLDS, LEASES, PAID, REQUESTS, USAGE
-- include ledger.lua

-- Read the clock, once in a call. Returns the seconds.
local function read_clock()
  local clock = redis.call('TIME')
  local micros = clock[2] + 0 -- a sum reads a text once, tonumber() twice
  now = clock[1] + 0
  now_ms = now * 1000 + (micros - micros % 1000) / 1000
  return now
end

-- Forget the account of the call before, and its moment. `first` is the place of the ledger in KEYS.
local function open_account(first)
  now, now_ms = nil, nil
  LEDGER, HOLDS, LEASES, PAID, REQUESTS, USAGE = unpack(KEYS, first, first + 5)
  cells, changed, journal, lists = {}, {}, {}, {}
end
