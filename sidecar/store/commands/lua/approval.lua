-- Approvals of an account. `ledger/approval_records.py` is the model. Needs clock.lua, and the key of the list.
-- include checked.lua
local function approval_key(list, handle) return string.sub(list, 1, -2) .. ':' .. handle end

-- Returns an approval; nil for one that does not exist or has expired.
local function approval_of(list, handle)
  local key = approval_key(list, handle)
  local found = redis.call('HMGET', key, 'expires', 'subject', 'client_id', 'tool', 'arguments', 'rule', 'status', 'by',
    'call', 'prices', 'carried', 'used')
  local ends = amount_of(found[1])
  if not ends or ends <= now_ms then return nil end
  return {
    key = key, handle = handle, subject = found[2], client = found[3], tool = found[4], arguments = found[5],
    rule = found[6], status = found[7], by = found[8], call = found[9], prices = found[10], carried = found[11],
    used = amount_of(found[12]) or 0,
  }
end
