-- Settle or release of a call. `settlement.settle` and `settlement.release` are the model; `resolve.lua` has KEYS and ARGV.
-- include account.lua
-- include remembered.lua
-- include resolution.lua

local function remember_outcome(outcome, receipt)
  redis.call('SET', KEYS[7], cjson.encode({how = outcome, receipt = receipt}), 'PX', ARGV[4])
  if KEYS[8] then -- rarely: so the functions are not made before
    -- include approval.lua
    -- include give_back.lua
    pcall(give_back, KEYS[8], ARGV[6], ARGV[1]) -- a corrupt approval must not keep a hold open
  end
end

-- Returns the reply to a call that was resolved before.
local function repeated(how, known)
  local read, outcome = pcall(cjson.decode, known)
  if not read or type(outcome) ~= 'table' or type(outcome.receipt) ~= 'table' then
    malformed(KEYS[7], '', 'an outcome')
  end
  if outcome.how ~= how then return {1} end
  return {0, unpack(outcome.receipt)}
end

local function settle()
  local ended, how = ARGV[1], ARGV[2]
  open_account(1)
  if KEYS[8] then read_clock() end
  local known = redis.call('GET', KEYS[7])
  if known then return repeated(how, known) end
  local raw = redis.call('HGET', HOLDS, ended)
  local hold, kept
  if raw then
    hold, kept = kept_hold(ended, raw)
    hold = hold or hold_of(raw) or malformed(HOLDS, ended, 'a hold')
  end
  if not hold then
    if how == SETTLED then write_journal({{'event', LATE, 'call', ended}}) end
    remember_outcome(LATE, {})
    return {1}
  end
  local receipt = resolve(ended, hold, how, ARGV[3] == '1', decoded(ARGV[5]), kept)
  flush()
  remember_outcome(how, receipt)
  return {0, unpack(receipt)}
end
