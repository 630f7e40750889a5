-- Stored hold of one call: {owner, client, on_unknown, amounts, request, deferred, events, tool, subject}. `decoding.parse_hold` is
-- the model. Needs HOLDS.
-- include checked.lua
-- generate WINDOWS
-- generate AmountKind
-- generate OnUnknown
-- generate MAX_AMOUNTS_PER_HOLD
-- generate MAX_EVENTS

local function is_amount(amount)
  if type(amount) ~= 'table' then return false end
  local kind, windows, reserved, fixed = amount.kind, amount.windows, amount_of(amount.reserved), amount.fixed
  if not is_kind(kind) or type(amount.name) ~= 'string' or not reserved or type(windows) ~= 'table' then return false end
  if fixed ~= nil and type(fixed) ~= 'boolean' then return false end
  if kind == 'credit' and (amount_of(amount.balance) or MAX + 1) > reserved then return false end
  for name, number in next, windows do
    if not amount_of(number) or not window_rule(name) then return false end
  end
  if amount.items == nil then return true end
  -- include texts.lua
  local each = amount_of(amount.each)
  return each ~= nil and texts(amount.items) and each * #amount.items == reserved
end

-- Returns a hold from its document; nil for anything else.
local function hold_of(raw)
  local read, hold = pcall(cjson.decode, raw)
  if not read or type(hold) ~= 'table' or type(hold.client) ~= 'string' or type(hold.owner) ~= 'string' then
    return nil
  end
  if not is_on_unknown(hold.on_unknown) then return nil end
  if hold.request ~= nil and type(hold.request) ~= 'string' then return nil end
  if hold.deferred ~= nil and type(hold.deferred) ~= 'string' then return nil end
  if hold.tool ~= nil and type(hold.tool) ~= 'string' then return nil end
  if hold.subject ~= nil and type(hold.subject) ~= 'string' then return nil end
  if hold.events ~= nil then
    -- include texts.lua
    if not texts(hold.events) or #hold.events > MAX_EVENTS then return nil end
  end
  local amounts = hold.amounts
  if type(amounts) ~= 'table' or #amounts == 0 or #amounts > MAX_AMOUNTS_PER_HOLD then return nil end
  for i = 1, #amounts do
    if not is_amount(amounts[i]) then return nil end
  end
  return hold
end

-- Returns the hold of a call; nil without one.
local function hold_of_call(call)
  local raw = redis.call('HGET', HOLDS, call)
  return raw and (hold_of(raw) or malformed(HOLDS, call, 'a hold'))
end
