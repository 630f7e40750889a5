-- Resolution of holds in the ledger in memory. `settlement.settle` and `settlement.release` are the model. Needs
-- ledger.lua.
-- include hold.lua

-- Give back to the balance the part of a credit that the call does not cost. Returns the part of the cost that the
-- balance pays.
local function settle_balance(cost, reserved, taken, charged)
  local back = math.min(reserved - charged, taken) -- the balance gets its part back first
  local balance, total = units(cost.balance), total_of(cost.name) - taken + back
  -- A hold that was edited by hand must not raise a balance above the pool's total.
  local after = math.max(balance, math.min(balance + back, total))
  if after ~= balance then put(cost.balance, text(after)) end
  put(cost.total, text(total))
  return taken - back
end

-- Replace in each window the reserved units by those that count; expired windows are not changed, and none is read when
-- the same number counts. `cost` gets the units counted in a window where these differ from what the amount counts; of
-- a cost with several amounts, the number of each window and the units counted in it.
local function settle_windows(amount, cost, before, after)
  if cost.amounts == 1 and before == after then return end
  local counted_in = cost.counted_in or {}
  for name, number in next, amount.windows do
    local units_in = before
    if after ~= before then
      local at = cost.counter .. ':' .. name
      local used = counted(at, number, true)
      -- Most settlements need no clock: they read it only here.
      if used and number + 0 >= (window_at(name, now or read_clock())) then
        put(at, number .. ':' .. text(math.min(MAX, math.max(0, used + after - before))))
        units_in = after
      end
    end
    if cost.amounts > 1 then
      cost.places[name] = cost.places[name] or number
      counted_in[name] = (counted_in[name] or 0) + units_in
    elseif units_in ~= after then
      counted_in[name] = units_in
    end
  end
  cost.counted_in = counted_in
end

-- Returns one window of a cost for the journal, with the units counted in it only where these differ from the cost.
local function window_words(cost, name, number)
  local units_in = cost.counted_in and cost.counted_in[name]
  return name .. ':' .. number .. (units_in and units_in ~= cost.counted and ':' .. text(units_in) or '')
end

-- Returns the windows of a cost, in their order; most costs have one.
local function windows_of_cost(cost)
  local places = cost.places
  local name, number = next(places)
  if not name then return '' end
  if next(places, name) == nil then return window_words(cost, name, number) end
  local words = {}
  for place = 1, #WINDOWS do
    name = WINDOWS[place]
    if places[name] then words[#words + 1] = window_words(cost, name, places[name]) end
  end
  return table.concat(words, ' ')
end

-- Returns the journal entry of a call with its costs, each kind and name once, and the items that it has paid.
local function entry_of(event, call, hold, costs, paid)
  local entry, last = {
    'event', event, 'call', call, 'client', hold.client, -- with room for the usual costs
    nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil,
  }, 6
  if hold.tool then
    entry[7], entry[8] = 'tool', hold.tool
    last = 8
  end
  if hold.subject then
    entry[last + 1], entry[last + 2] = 'subject', hold.subject
    last = last + 2
  end
  for i = 1, #costs do
    local cost = costs[i]
    entry[last + 1], entry[last + 2] = cost.priced, text(cost.units)
    entry[last + 3], entry[last + 4] = cost.windows, windows_of_cost(cost)
    last = last + 4
  end
  for i = 1, #costs do
    local cost = costs[i]
    if cost.change then
      entry[last + 1], entry[last + 2] = 'change:' .. cost.name, text(cost.change)
      entry[last + 3], entry[last + 4] = cost.total, text(total_of(cost.name))
      last = last + 4
    end
  end
  if paid > 0 then
    put('journal:paid', text(math.min(MAX, (amount_of(cell('journal:paid')) or 0) + paid)))
    entry[last + 1], entry[last + 2] = 'paid', cell('journal:paid')
  end
  return entry
end

-- Returns a cost for each counter of a hold, in order, also by the number of the amount; and the fields that resolving
-- the hold needs.
local function new_costs(amounts)
  local costs, cost_by_amount = {nil, nil, nil}, {nil, nil, nil}
  local fields, last = {'journal:written', nil, nil, nil, nil, nil, nil, nil}, 1
  for i = 1, #amounts do
    local kind, name = amounts[i].kind, amounts[i].name
    local counter, cost = (kind == 'credit' and 'included:' or 'quota:') .. name, nil
    for j = 1, #costs do
      if costs[j].counter == counter then cost = costs[j] end
    end
    if not cost then
      cost = {
        kind = kind, name = name, counter = counter, priced = kind .. ':' .. name, windows = 'windows:' .. counter,
        balance = 'balance:' .. name, total = 'total:' .. name, amounts = 0, places = amounts[i].windows,
        units = 0, counted = 0, change = false, counted_in = false,
      }
      costs[#costs + 1] = cost
    end
    cost.amounts = cost.amounts + 1
    cost_by_amount[i] = cost
    if kind == 'credit' then
      fields[last + 1], fields[last + 2] = cost.balance, cost.total
      last = last + 2
    end
    for window_name in next, amounts[i].windows do
      last = last + 1
      fields[last] = counter .. ':' .. window_name
    end
  end
  return {costs, cost_by_amount, fields}
end

-- Returns the costs of a hold, by counter and by the number of the amount, all of them empty; and reads all fields that
-- resolving the hold needs at once. `amounts` are {list = ...}.
local function costs_of(amounts)
  local known = amounts.costs or new_costs(amounts.list)
  amounts.costs = known -- calls in a row often share it; a call that failed may have left units in it
  local costs = known[1]
  for i = 1, #costs do
    local cost = costs[i]
    cost.units, cost.counted, cost.change, cost.counted_in = 0, 0, false, false
    if cost.amounts > 1 then cost.places = {} end
  end
  preload(known[3])
  return costs, known[2]
end

-- Resolve a hold. Returns the receipt: kind, name and units, three words per amount. `kept` are its amounts as `price`
-- returned them, if they were kept.
local function resolve(call, hold, event, forwarded, charges, kept)
  local amounts, receipt, paid = hold.amounts, {nil, nil, nil, nil, nil, nil, nil, nil, nil}, 0
  local costs, cost_by_amount = costs_of(kept or {list = amounts})
  for i = 1, #amounts do
    local amount, cost = amounts[i], cost_by_amount[i]
    local reserved, charge = amount.reserved + 0, charges[i] -- a number, a list of items, or else the reserve
    local charged, from_balance, taken = reserved, 0, 0
    if amount.fixed then charge = nil end
    if event == RELEASED and not (amount.fixed and forwarded) then
      charged = 0
    elseif amount.items and charge ~= false then -- false marks no item: the result does not name those that it delivers
      -- include pay.lua
      local items
      charged, items = pay(amount, charge)
      paid = paid + items
    elseif type(charge) == 'number' then -- returned rows count in full, even past the limit
      charged = amount.kind == 'quota' and charge or math.min(charge, reserved)
    end
    if amount.kind == 'credit' then
      taken = amount.balance + 0
      if taken > 0 then from_balance = settle_balance(cost, reserved, taken, charged) end
      cost.change = (cost.change or 0) - from_balance
    end
    if next(amount.windows) then settle_windows(amount, cost, reserved - taken, charged - from_balance) end
    cost.units = math.min(MAX, cost.units + charged)
    cost.counted = cost.counted + charged - from_balance
    receipt[3 * i - 2], receipt[3 * i - 1], receipt[3 * i] = amount.kind, amount.name, text(charged)
  end
  journal[#journal + 1] = entry_of(event, call, hold, costs, paid)
  note('resolved', call)
  if hold.request then note('old_requests', hold.request) end
  for i = 1, hold.events and #hold.events or 0 do note('old_requests', hold.events[i]) end
  return receipt
end
