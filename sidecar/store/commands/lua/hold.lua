-- Stored hold of one call: {owner, client, on_unknown, amounts, request, deferred, events}. `decoding.parse_hold` is
-- the model. Needs HOLDS.
-- include checked.lua
-- generate WINDOWS
-- generate AmountKind
-- generate OnUnknown
-- generate MAX_AMOUNTS_PER_HOLD
-- generate MAX_EVENTS

local function optional(value, kind) return value == nil or type(value) == kind end

local function texts(value)
  if type(value) ~= 'table' or (#value == 0 and next(value) ~= nil) then return false end
  for _, each in ipairs(value) do
    if type(each) ~= 'string' then return false end
  end
  return true
end

local function is_amount(amount)
  if type(amount) ~= 'table' or type(amount.windows) ~= 'table' or not optional(amount.fixed, 'boolean') then
    return false
  end
  local credit, reserved = amount.kind == 'credit', amount_of(amount.reserved)
  if not AMOUNT_KINDS[amount.kind] or type(amount.name) ~= 'string' or not reserved then return false end
  if credit and (amount_of(amount.balance) or MAX + 1) > reserved then return false end
  for name, number in pairs(amount.windows) do
    if not amount_of(number) or not WINDOW_RULES[name] then return false end
  end
  if amount.items == nil then return true end
  local each = amount_of(amount.each)
  return each ~= nil and texts(amount.items) and each * #amount.items == reserved
end

-- Returns a hold from its document; nil for anything else.
local function hold_of(raw)
  local read, hold = pcall(cjson.decode, raw)
  if not read or type(hold) ~= 'table' or type(hold.client) ~= 'string' or type(hold.owner) ~= 'string' then
    return nil
  end
  if not ON_UNKNOWN[hold.on_unknown] then return nil end
  if not optional(hold.request, 'string') or not optional(hold.deferred, 'string') then return nil end
  if hold.events ~= nil and (not texts(hold.events) or #hold.events > MAX_EVENTS) then return nil end
  local amounts = hold.amounts
  if type(amounts) ~= 'table' or #amounts == 0 or #amounts > MAX_AMOUNTS_PER_HOLD then return nil end
  for _, amount in ipairs(amounts) do
    if not is_amount(amount) then return nil end
  end
  return hold
end

-- Returns the hold of a call; nil without one.
local function hold_of_call(call)
  local raw = redis.call('HGET', HOLDS, call)
  return raw and (hold_of(raw) or malformed(HOLDS, call, 'a hold'))
end
