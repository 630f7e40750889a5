#!lua flags=allow-oom
-- Settle or release one call, exactly once. `settlement.settle` and `settlement.release` are the model. A repetition
-- gets the first reply; a command without a hold is late and changes nothing, but leaves a tombstone: an admission of
-- the call that arrives later is refused. It may write when memory is short, or holds would stay open; admissions,
-- which create holds, may not.
--
-- KEYS  1 ledger  2 holds  3 leases  4 paid  5 requests  6 usage  7 outcome of this call
--       8 list of approvals: the one that the call has used is given back; absent unless it is released and was not sent
-- ARGV  1 call id  2 settled or released  3 whether it was forwarded (1, 0)  4 ms to remember the outcome
--       5 charges: JSON [units, or [item, ...], or null for the reserve, or false for the reserve without marking any
--       item as paid, ...]; missing ones are null
--       6 with KEYS 8, handle of the approval; '' for a call that claimed any of the account page
-- Returns {late (1, 0), then kind, name, units of each amount}
-- include clock.lua
local LEDGER, HOLDS, LEASES, PAID, REQUESTS, USAGE = unpack(KEYS)
-- include ledger.lua
-- include resolution.lua

local call, how = ARGV[1], ARGV[2]

local function remember(outcome, receipt)
  redis.call('SET', KEYS[7], cjson.encode({how = outcome, receipt = receipt}), 'PX', ARGV[4])
  if KEYS[8] then
    -- include approval.lua
    -- include give_back.lua
    pcall(give_back, KEYS[8], ARGV[6], call) -- a corrupt approval must not keep a hold open
  end
end

local known = redis.call('GET', KEYS[7])
if known then
  local read, outcome = pcall(cjson.decode, known)
  if not read or type(outcome) ~= 'table' or type(outcome.receipt) ~= 'table' then
    malformed(KEYS[7], '', 'an outcome')
  end
  if outcome.how ~= how then return {1} end
  return {0, unpack(outcome.receipt)}
end
local hold = hold_of_call(call)
if not hold then
  if how == SETTLED then write_journal({{'event', LATE, 'call', call}}) end
  remember(LATE, {})
  return {1}
end
local receipt = resolve(call, hold, how, ARGV[3] == '1', cjson.decode(ARGV[5]))
flush()
remember(how, receipt)
return {0, unpack(receipt)}
