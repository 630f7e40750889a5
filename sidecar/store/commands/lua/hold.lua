-- What one call has reserved, as the ledger writes it: {owner, client, on_unknown, amounts, request, deferred,
-- events}. `stored.parse_hold` is its model. Needs HOLDS.
-- include checked.lua
local AMOUNTS_MOST, EVENTS_MOST = 100, 1000 -- more than any call has

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
  if not (credit or amount.kind == 'quota') or type(amount.name) ~= 'string' or not reserved then return false end
  if credit and (amount_of(amount.balance) or MAX + 1) > reserved then return false end
  for name, number in pairs(amount.windows) do
    if not amount_of(number) or not (name == 'minute' or name == 'hour' or name == 'day' or name == 'month') then
      return false
    end
  end
  if amount.items == nil then return true end
  local each = amount_of(amount.each)
  return each ~= nil and texts(amount.items) and each * #amount.items == reserved
end

-- A hold from what is stored; nil when it is none.
local function hold_of(raw)
  local read, hold = pcall(cjson.decode, raw)
  if not read or type(hold) ~= 'table' or type(hold.client) ~= 'string' or type(hold.owner) ~= 'string' then
    return nil
  end
  if hold.on_unknown ~= 'settle' and hold.on_unknown ~= 'release' then return nil end
  if not optional(hold.request, 'string') or not optional(hold.deferred, 'string') then return nil end
  if hold.events ~= nil and (not texts(hold.events) or #hold.events > EVENTS_MOST) then return nil end
  local amounts = hold.amounts
  if type(amounts) ~= 'table' or #amounts == 0 or #amounts > AMOUNTS_MOST then return nil end
  for _, amount in ipairs(amounts) do
    if not is_amount(amount) then return nil end
  end
  return hold
end

-- The hold of a call; nil without one.
local function hold_of_call(call)
  local raw = redis.call('HGET', HOLDS, call)
  return raw and (hold_of(raw) or malformed(HOLDS, call, 'a hold'))
end
