#!lua
-- Grant, spend or set the credits of a pool, for CLI commands and other programs. Idempotent on the operation id. A
-- deleted account must be set again first. After `set`, balance and open holds agree with the journal again, also when
-- they were edited by hand.
--
-- KEYS  1 ledger  2 holds  3 leases  4 paid  5 requests  6 usage  7 account  8 done of this operation
-- ARGV  1 operation id  2 grant, spend or set  3 pool  4 credits  5 ms to remember the operation
--       6 window ('' none) and 7 number of the plan's included credits, which a spend takes first
--       8 whether to create the account (1, 0)  9 issuer id  10 account  11 author, or absent
-- Returns {command.ChangeCode, balance, taken from included credits}; only 0 and 1 are remembered, and 5 is the answer
--       to another change with a remembered id. An error names the argument that is wrong; nothing was changed then
-- include clock.lua
local LEDGER, HOLDS, LEASES, PAID, REQUESTS, USAGE = unpack(KEYS)
-- include ledger.lua
-- include current.lua
-- include hold.lua
-- include author.lua
-- include expiry.lua

-- generate ChangeCode
local operation, verb, pool, amount = ARGV[1], ARGV[2], ARGV[3], amount_of(ARGV[4])

-- Check the arguments of other programs: a negative spend would be a grant, and half a credit would remain.
local whole = amount_of
local function wrong()
  if #KEYS ~= 8 or #ARGV < 10 or #ARGV > 11 then return '8 KEYS and 10 ARGV, or 11 with the author' end
  if operation == '' then return 'operation id: not empty' end
  if verb ~= 'grant' and verb ~= 'spend' and verb ~= 'set' then return 'grant, spend or set' end
  if pool == '' or string.find(pool, ':', 1, true) then return 'pool: a name without a colon' end
  if not whole(ARGV[4]) then return 'credits: ' .. AN_AMOUNT end
  if not whole(ARGV[5]) or tonumber(ARGV[5]) == 0 then return 'ms to remember: an integer from 1' end
  if ARGV[6] ~= '' and not window_rule(ARGV[6]) then
    return 'window: ' .. table.concat(WINDOWS, ', ') .. ' or empty'
  end
  if not whole(ARGV[7]) then return 'included credits: ' .. AN_AMOUNT end
end
local fault = wrong()
if fault then return redis.error_reply('ERR credits.lua accepts ' .. fault) end

local known = redis.call('GET', KEYS[8])
local request = verb .. ':' .. text(amount) .. ':' .. pool
if known then
  local read, answer = pcall(cjson.decode, known)
  if not read or type(answer) ~= 'table' or #answer < 3 or #answer > 4 then
    malformed(KEYS[8], '', 'an answer of this script')
  end
  -- Earlier versions did not remember the request.
  if answer[4] and answer[4] ~= request then return {CONFLICT, '0', '0'} end
  return {answer[1], answer[2], answer[3]}
end
local exists = redis.call('EXISTS', KEYS[7]) == 1
local deleted = redis.call('HEXISTS', KEYS[7], 'deleted') == 1
if deleted or (not exists and ARGV[8] ~= '1') then return {UNKNOWN, '0', '0'} end
expire()

-- Returns the credits that open holds reserve from the balance of the pool.
local function held()
  local closed, taken, flat = {}, 0, redis.call('HGETALL', HOLDS)
  for _, call in ipairs(lists.resolved or {}) do closed[call] = true end
  for i = 1, #flat, 2 do
    local hold = not closed[flat[i]] and (hold_of(flat[i + 1]) or malformed(HOLDS, flat[i], 'a hold'))
    for _, each in ipairs(hold and hold.amounts or {}) do
      if each.kind == 'credit' and each.name == pool then taken = taken + tonumber(each.balance) end
    end
  end
  return taken
end

local balance, total = units('balance:' .. pool), total_of(pool)
local included, placed_in = 0, ''
local change = amount
if verb == 'set' then
  -- Computed from the journal, not from the stored balance: otherwise an edited one would never be consistent again.
  change = amount + held() - total
elseif verb == 'spend' then
  if ARGV[6] ~= '' then
    local field = 'included:' .. pool .. ':' .. ARGV[6]
    local number, used = current(field, ARGV[6])
    placed_in = ARGV[6] .. ':' .. number
    included = math.min(amount, math.max(0, tonumber(ARGV[7]) - used))
    if amount - included <= balance then put(field, number .. ':' .. text(used + included)) end
  end
  change = included - amount
end
local after = verb == 'set' and amount or balance + change
local code = exists and DONE or CREATED
if after < 0 then code = TOO_LITTLE end
if math.max(after, total + change) > MAX then code = TOO_MUCH end
if code > CREATED then
  flush()
  return {code, text(balance), '0'}
end
put('balance:' .. pool, text(after))
put('total:' .. pool, text(total + change))
journal[#journal + 1] = {
  'event', verb, 'call', operation, 'credit:' .. pool, text(amount), 'included:' .. pool, text(included),
  'change:' .. pool, text(change), 'total:' .. pool, text(total + change),
}
if verb == 'spend' then
  local entry = journal[#journal]
  entry[#entry + 1] = 'windows:included:' .. pool
  entry[#entry + 1] = placed_in
end
signed(journal[#journal], ARGV[11])
flush()
if not exists then redis.call('HSET', KEYS[7], 'issuer', ARGV[9], 'account', ARGV[10]) end
redis.call('SET', KEYS[8], cjson.encode({code, text(after), text(included), request}), 'PX', ARGV[5])
return {code, text(after), text(included)}
