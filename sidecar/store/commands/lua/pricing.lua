-- Gate 7 of an admission: prices in the ledger in memory. Needs the call of admission.lua, remembered.lua and the codes.
-- include current.lua
-- Returns the limits of each demand: of a quota {place of the window, its name, limit} for each window, as the account
-- has its own or else the plan; of credits {window, included} or nil. Reads the fields of the ledger that they need.
local function bounds()
  local granted, limits = decoded(terms), {nil, nil, nil}
  local fields, last = {nil, nil, nil, nil, nil, nil, nil, nil}, 0
  for i = 1, #demands do
    local name, list = demands[i][2], nil
    if demands[i][1] == 'credit' then
      list = granted.credits[name]
      fields[last + 1] = 'balance:' .. name
      last = last + 1
      if list then
        last = last + 1
        fields[last] = 'included:' .. name .. ':' .. list[1]
      end
    else
      list = granted.quotas[name] or {}
      if own then
        -- include own_limits.lua
        list = own_limits(name, list)
      end
      for j = 1, #list do fields[last + j] = 'quota:' .. name .. ':' .. list[j][2] end
      last = last + #list
    end
    limits[i] = list
  end
  preload(fields)
  return limits
end

-- Counters that a demand uses, three words each: field, number of the window, units used.
local uses, used_words = {nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil}, 0

-- Read the counter of a window for an amount. Returns the units used, and the seconds until the window ends.
local function use(amount, field, window_name)
  local number, units_used, rest = current(field, window_name)
  amount.windows[window_name] = number
  uses[used_words + 1], uses[used_words + 2], uses[used_words + 3] = field, number, units_used
  used_words = used_words + 3
  return units_used, rest
end

-- Price one amount of a quota. Returns the units left, the limit, the place of its window, and the seconds until that
-- ends. Of the windows that refuse, report the last to end: waiting for an earlier one would not help; otherwise report
-- the one with the least left.
local function price_quota(amount, needed, list)
  local tightest, tightest_left, tightest_rest
  for i = 1, #list do
    local bound = list[i]
    local units_used, rest = use(amount, 'quota:' .. amount.name .. ':' .. bound[2], bound[2])
    local left = math.max(0, bound[3] - units_used)
    if needed > left or not tightest or (needed <= tightest_left and left <= tightest_left) then
      tightest, tightest_left, tightest_rest = bound, left, rest
    end
  end
  if tightest then return tightest_left, tightest[3], tightest[1], tightest_rest end
end

-- Price one amount of credits. Returns the units left, and the seconds until its window ends.
local function price_credit(amount, needed, grant)
  local balance = units('balance:' .. amount.name)
  if not grant then
    amount.balance = amount.reserved
    return balance
  end
  local units_used, rest = use(amount, 'included:' .. amount.name .. ':' .. grant[1], grant[1])
  local unused = math.max(0, grant[2] - units_used)
  amount.balance = text(math.max(0, needed - unused))
  return math.min(MAX, unused + balance), nil, nil, rest
end

-- Gate 7. Returns the refusing code or nil, and the amounts to hold; the ledger in memory has them reserved.
local function price(held_already)
  local limits, amounts, refused = bounds(), {nil, nil, nil}, nil
  for i = 1, #demands do
    local demand = demands[i]
    local kind, name, needed, items = demand[1], demand[2], demand[3], nil
    if demand[5] and demand[5] ~= cjson.null then
      -- include unpaid.lua
      items = unpaid(kind, name, demand[5])
      needed = #items * demand[6]
    end
    local amount = {kind = kind, name = name, reserved = text(needed), windows = {}, items = items}
    if demand[4] then amount.fixed = true end
    if items then amount.each = text(demand[6]) end
    used_words = 0
    local left, limit, place, rest = (kind == 'quota' and price_quota or price_credit)(amount, needed, limits[i])
    local at = 2 + 5 * i
    answer[at], answer[at + 1], answer[at + 2] = needed, left or false, limit or false
    answer[at + 3], answer[at + 4] = place or false, rest or false
    if not refused and not held_already and not demand[7] and left and needed > left then
      refused = kind == 'quota' and QUOTA_EXCEEDED or INSUFFICIENT_CREDITS
      answer[5] = i - 1
    end
    if not refused then
      local counts, taken = needed, kind == 'credit' and amount.balance + 0 or 0
      if taken > 0 then put('balance:' .. name, text(units('balance:' .. name) - taken)) end
      counts = counts - taken
      for j = 1, used_words, 3 do
        -- A quota in shadow mode has no limit.
        put(uses[j], uses[j + 1] .. ':' .. text(math.min(MAX, uses[j + 2] + counts)))
      end
    end
    amounts[i] = amount
  end
  return refused, amounts
end
