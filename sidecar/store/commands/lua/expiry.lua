-- Resolution of expired holds. Needs ledger.lua.
-- generate EXPIRY_BATCH

-- Resolve the first expired holds, from their own documents. A hold that was edited and is unreadable must not block
-- the account: it is set aside unchanged, and tried again after a day. Its units stay reserved until an operator
-- repairs it.
local function expire()
  local calls = redis.call('ZRANGEBYSCORE', LEASES, '-inf', text(now_ms), 'LIMIT', 0, EXPIRY_BATCH)
  if #calls == 0 then return 0 end -- most often: then the functions of a resolution are not made

  -- include types.lua
  -- include resolution.lua

  -- Returns whether every field that resolving a hold needs is readable.
  local function resolvable(hold)
    for _, amount in ipairs(hold.amounts) do
      local pool = amount.name
      if amount.kind == 'credit' then -- the journal entry has the total, also where the balance paid nothing
        if amount.balance ~= '0' and not pcall(units, 'balance:' .. pool) then return false end
        if not pcall(total_of, pool) then return false end
      end
      if amount.items and not has_type(PAID, 'set') then return false end
    end
    return true
  end

  for _, call in ipairs(calls) do
    local raw = redis.call('HGET', HOLDS, call)
    local hold = raw and hold_of(raw)
    if not raw then
      note('resolved', call)
    elseif not hold or not resolvable(hold) then
      note('set_aside', text(now_ms + 86400000)) -- ms: it is tried again after a day
      note('set_aside', call)
      journal[#journal + 1] = {'event', 'set_aside', 'call', call}
    else
      local settles = hold.deferred or hold.on_unknown == 'settle'
      resolve(call, hold, settles and SETTLED or RELEASED, true, {})
      if not settles and hold.request then note('lapsed', hold.request) end
      local entry = journal[#journal]
      entry[#entry + 1] = 'expired'
      entry[#entry + 1] = '1'
    end
  end
  return #calls
end
