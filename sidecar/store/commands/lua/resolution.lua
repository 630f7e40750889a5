-- Resolution of holds in the ledger in memory. `settlement.settle` and `settlement.release` are the model. Needs
-- ledger.lua.
-- include hold.lua

local function pay(amount, delivered)
  local items = amount.items
  if type(delivered) == 'table' then
    local wanted = {}
    for _, item in ipairs(delivered) do wanted[item] = true end
    items = {}
    for _, item in ipairs(amount.items) do
      if wanted[item] then items[#items + 1] = item end
    end
  end
  local fresh = unpaid(amount.kind, amount.name, items)
  for _, item in ipairs(fresh) do
    local member = amount.kind .. ':' .. amount.name .. ':' .. item
    note('paid', member)
    lists.paid[member] = true
  end
  return #fresh * tonumber(amount.each), #fresh
end

-- Returns the cost of an amount that is charged, and the number of items that it pays for; `charge` is a number, a list
-- of items, or else the reserve. `false` marks no item as paid: the result does not name the items that it delivers.
local function cost_of(amount, charge)
  if amount.fixed then charge = nil end
  if amount.items and charge ~= false then return pay(amount, charge) end
  local reserved = tonumber(amount.reserved)
  if type(charge) ~= 'number' then return reserved, 0 end
  if amount.kind == 'quota' then return charge, 0 end -- returned rows count in full, even past the limit
  return math.min(charge, reserved), 0
end

-- Give back to the balance the part of a credit that the call does not cost. Returns the part of the cost that the
-- balance pays.
local function settle_balance(pool, reserved, taken, cost)
  local back = math.min(reserved - cost, taken) -- the balance gets its part back first
  local paid = taken - back
  if taken > 0 then
    local balance, total = units('balance:' .. pool), total_of(pool) - paid
    -- A hold that was edited by hand must not raise a balance above the pool's total.
    put('balance:' .. pool, text(math.max(balance, math.min(balance + back, total))))
    put('total:' .. pool, text(total))
  end
  return paid
end

-- Replace in each window the reserved units by those that count; expired windows are not changed. `places` gets the
-- number of each window, `counted_in` the units counted in it.
local function settle_windows(amount, counter, before, after, places, counted_in)
  for name, number in pairs(amount.windows) do
    local at = counter .. ':' .. name
    local used, units_in = counted(at, number, true), before
    if used and tonumber(number) >= tonumber((window(name))) then
      count(at, number, math.min(MAX, math.max(0, used + after - before)))
      units_in = after
    end
    places[name] = places[name] or number
    counted_in[name] = (counted_in[name] or 0) + units_in
  end
end

-- Returns the windows of a cost for the journal, with their units only where these differ from the cost.
local function placed(cost)
  local words = ''
  for _, name in ipairs(WINDOWS) do
    local number, units_in = cost.places[name], cost.counted_in[name]
    if number then
      if words ~= '' then words = words .. ' ' end
      words = words .. name .. ':' .. number
      if units_in ~= cost.counted then words = words .. ':' .. text(units_in) end
    end
  end
  return words
end

-- Returns the journal entry of a call with its costs, each kind and name once, and the items that it has paid.
local function entry_of(event, call, client, costs, paid)
  local entry, last = {'event', event, 'call', call, 'client', client}, 6
  local function add(field, value)
    entry[last + 1], entry[last + 2] = field, value
    last = last + 2
  end
  for _, cost in ipairs(costs) do
    add(cost.kind .. ':' .. cost.name, text(cost.units))
    add('windows:' .. cost.counter, placed(cost))
  end
  for _, cost in ipairs(costs) do
    if cost.change then
      add('change:' .. cost.name, text(cost.change))
      add('total:' .. cost.name, text(total_of(cost.name)))
    end
  end
  if paid > 0 then
    put('journal:paid', text(math.min(MAX, (amount_of(cell('journal:paid')) or 0) + paid)))
    add('paid', cell('journal:paid'))
  end
  return entry
end

-- Read all fields that resolving a hold needs at once.
local function preload_hold(hold)
  local fields = {'journal:written'}
  for _, amount in ipairs(hold.amounts) do
    local field = 'quota:'
    if amount.kind == 'credit' then
      field = 'included:'
      fields[#fields + 1] = 'balance:' .. amount.name
      fields[#fields + 1] = 'total:' .. amount.name
    end
    for name in pairs(amount.windows) do fields[#fields + 1] = field .. amount.name .. ':' .. name end
  end
  preload(fields)
end

-- Resolve a hold. Returns the receipt: kind, name and units, three words per amount.
local function resolve(call, hold, event, forwarded, charges)
  local receipt, costs, paid = {}, {}, 0
  preload_hold(hold)
  for i, amount in ipairs(hold.amounts) do
    local kind, name, is_credit = amount.kind, amount.name, amount.kind == 'credit'
    local counter = (is_credit and 'included:' or 'quota:') .. name
    local cost = costs[counter]
    if not cost then
      cost = {kind = kind, name = name, counter = counter, units = 0, counted = 0, places = {}, counted_in = {}}
      costs[counter] = cost
      costs[#costs + 1] = cost
    end
    local charged, items, reserved, from_balance, taken = 0, 0, tonumber(amount.reserved), 0, 0
    if event ~= RELEASED or (amount.fixed and forwarded) then charged, items = cost_of(amount, charges[i]) end
    paid = paid + items
    if is_credit then
      taken = tonumber(amount.balance)
      from_balance = settle_balance(name, reserved, taken, charged)
      cost.change = (cost.change or 0) - from_balance
    end
    settle_windows(amount, counter, reserved - taken, charged - from_balance, cost.places, cost.counted_in)
    cost.units = math.min(MAX, cost.units + charged)
    cost.counted = cost.counted + charged - from_balance
    receipt[3 * i - 2], receipt[3 * i - 1], receipt[3 * i] = kind, name, text(charged)
  end
  journal[#journal + 1] = entry_of(event, call, hold.client, costs, paid)
  note('resolved', call)
  if hold.request then note('old_requests', hold.request) end
  for _, event in ipairs(hold.events or {}) do note('old_requests', event) end
  return receipt
end

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
