-- Resolution of expired holds. Needs ledger.lua.
-- generate EXPIRY_BATCH

-- Resolve the first expired holds, from their own documents. A hold that was edited and is unreadable must not block
-- the account: it is set aside unchanged, and tried again after a day. Its units stay reserved until an operator
-- repairs it.
local function expire()
  local calls = redis.call('ZRANGEBYSCORE', LEASES, '-inf', text(now_ms), 'LIMIT', 0, EXPIRY_BATCH)
  if #calls == 0 then return 0 end -- most often: then the functions of a resolution are not made

-- include resolution.lua
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
