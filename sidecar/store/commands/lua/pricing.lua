-- Gate 7 of an admission: prices in the ledger in memory. Needs the call of admission.lua, remembered.lua and the codes.
-- include current.lua
local outlines, outline_count = {}, 0 -- by the whole text of a plan's terms, then by that of the demands

-- Returns what the demands of the call and the terms of its plan say together. Of each demand: its kind and name; its
-- limits, as the account has its own or else the plan: {place of the window, its name, limit} for each window of a
-- quota, {window, included} or nil of credits; the windows' names, and the fields of the ledger for their counters and
-- for the balance. And all those fields, to be read.
local function new_outline()
  local granted, outline = decoded(terms), {nil, nil, nil}
  local reads, last = {nil, nil, nil, nil, nil, nil, nil, nil}, 0
  for i = 1, #demands do
    local kind, name, items = demands[i][1], demands[i][2], demands[i][5]
    if items and items ~= cjson.null then outline.has_items = true end
    local part = {
      kind = kind, name = name, limits = false, windows = {nil}, fields = {nil}, balance = false, amount = false,
    }
    if kind == 'credit' then
      part.limits, part.balance = granted.credits[name], 'balance:' .. name
      last = last + 1
      reads[last] = part.balance
      local window_name = part.limits and part.limits[1]
      if window_name then part.windows[1], part.fields[1] = window_name, 'included:' .. name .. ':' .. window_name end
    else
      local list = granted.quotas[name] or {}
      if own then
        -- include own_limits.lua
        list = own_limits(name, list)
      end
      part.limits = list
      for j = 1, #list do part.windows[j], part.fields[j] = list[j][2], 'quota:' .. name .. ':' .. list[j][2] end
    end
    for j = 1, #part.fields do
      last = last + 1
      reads[last] = part.fields[j]
    end
    outline[i] = part
  end
  outline.reads = reads
  return outline
end

-- Returns the outline of the call; many calls share one, unless the account has limits of its own.
local function outline_of_call()
  local shown = ARGV[6]
  local known = outlines[terms]
  local found = not own and known and known[shown]
  if found then return found end
  found = new_outline()
  if own or #terms > LONGEST_REMEMBERED or #shown > LONGEST_REMEMBERED or found.has_items then return found end
  if outline_count == MOST_REMEMBERED then outlines, outline_count, known = {}, 0, nil end
  known = known or {}
  outlines[terms], known[shown] = known, found
  outline_count = outline_count + 1
  return found
end

-- Counters that a demand uses, three words each: field, number of the window, units used.
local uses, used_words = {nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil}, 0

-- Read the counter of one window of a demand. Returns the units used, and the seconds until the window ends.
local function use(part, j)
  local field = part.fields[j]
  local number, units_used, rest = current(field, part.windows[j])
  uses[used_words + 1], uses[used_words + 2], uses[used_words + 3] = field, number, units_used
  used_words = used_words + 3
  return units_used, rest
end

-- Price one amount of a quota. Returns the units left, the limit, the place of its window, and the seconds until that
-- ends. Of the windows that refuse, report the last to end: waiting for an earlier one would not help; otherwise report
-- the one with the least left.
local function price_quota(part, needed)
  local tightest, tightest_left, tightest_rest
  local list = part.limits
  for i = 1, #list do
    local bound = list[i]
    local units_used, rest = use(part, i)
    local left = math.max(0, bound[3] - units_used)
    if needed > left or not tightest or (needed <= tightest_left and left <= tightest_left) then
      tightest, tightest_left, tightest_rest = bound, left, rest
    end
  end
  if tightest then return tightest_left, tightest[3], tightest[1], tightest_rest end
end

-- Price one amount of credits. Returns the units left, the seconds until its window ends as the fourth, and the units
-- that the balance pays.
local function price_credit(part, needed)
  local balance, grant = units(part.balance), part.limits
  if not grant then return balance, nil, nil, nil, needed end
  local units_used, rest = use(part, 1)
  local unused = math.max(0, grant[2] - units_used)
  return math.min(MAX, unused + balance), nil, nil, rest, math.max(0, needed - unused)
end

-- Returns the amount of a demand as a hold has it: that of the call before, unless something in it has changed.
-- `taken` are the units that the balance pays, nil of a quota.
local function amount_of_demand(part, demand, needed, taken, items)
  local reserved, balance, amount = text(needed), taken and text(taken), part.amount
  local same = amount and not items and amount.reserved == reserved and amount.balance == balance
  for j = 1, same and #part.windows or 0 do
    same = same and amount.windows[part.windows[j]] == uses[3 * j - 1]
  end
  if same then return amount end
  amount = {kind = part.kind, name = part.name, reserved = reserved, windows = {}, items = items, balance = balance}
  for j = 1, #part.windows do amount.windows[part.windows[j]] = uses[3 * j - 1] end
  if demand[4] then amount.fixed = true end
  if items then amount.each = text(demand[6]) end
  return amount
end

-- Gate 7. Returns the refusing code or nil, and the amounts to hold, {list = ...}, as `write_hold` and `costs_of` add to
-- them; the ledger in memory has them reserved.
local function price(held_already)
  local outline, refused = outline_of_call(), nil
  local amounts = outline.amounts -- of the call before
  preload(outline.reads)
  for i = 1, #demands do
    local demand, part = demands[i], outline[i]
    local kind, needed, items = part.kind, demand[3], nil
    if demand[5] and demand[5] ~= cjson.null then
      -- include unpaid.lua
      items = unpaid(kind, part.name, demand[5])
      needed = #items * demand[6]
    end
    used_words = 0
    local left, limit, place, rest, taken = (kind == 'quota' and price_quota or price_credit)(part, needed)
    local at = 2 + 5 * i
    answer[at], answer[at + 1], answer[at + 2] = needed, left or false, limit or false
    answer[at + 3], answer[at + 4] = place or false, rest or false
    if not refused and not held_already and not demand[7] and left and needed > left then
      refused = kind == 'quota' and QUOTA_EXCEEDED or INSUFFICIENT_CREDITS
      answer[5] = i - 1
    end
    local amount = amount_of_demand(part, demand, needed, taken, items)
    if amount ~= part.amount then -- the list goes first: a later demand may fail
      amounts, outline.amounts = nil, nil
      part.amount = amount
    end
    if not refused then
      if taken and taken > 0 then
        put(part.balance, text(units(part.balance) - taken))
        needed = needed - taken
      end
      for j = 1, used_words, 3 do
        -- A quota in shadow mode has no limit.
        put(uses[j], uses[j + 1] .. ':' .. text(math.min(MAX, uses[j + 2] + needed)))
      end
    end
  end
  if not amounts then
    local list = {nil, nil, nil}
    for i = 1, #demands do list[i] = outline[i].amount end
    amounts = {list = list, document = false, costs = false}
    outline.amounts = amounts
  end
  return refused, amounts
end
