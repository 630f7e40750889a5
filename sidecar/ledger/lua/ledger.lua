-- One account's ledger in memory: read when needed, changed here, written once by `flush`; a script that
-- only looks does not flush. `settlement.py` is its model. Needs LEDGER HOLDS LEASES PAID REQUESTS USAGE.
-- include journal.lua
local EXPIRED_AT_ONCE = 16
local CHUNK = 1000 -- arguments that go on Lua's stack at once

local cells, changed, journal, gone, answered, begun = {}, {}, {}, {}, {}, {}
local marks, marked = {}, {}

redis.call('XLEN', USAGE) -- a journal of the wrong type refuses here, before anything is written

local function preload(fields)
  if #fields == 0 then return end
  local values = redis.call('HMGET', LEDGER, unpack(fields))
  for i, field in ipairs(fields) do
    -- What `expire` has changed is not written yet: the store's value is the old one.
    if cells[field] == nil then cells[field] = values[i] end
  end
end

local function cell(field)
  local value = cells[field]
  if value == nil then
    value = redis.call('HGET', LEDGER, field)
    cells[field] = value
  end
  return value
end

local function put(field, value)
  cells[field] = value
  changed[field] = value
end

local function units(field) return tonumber(cell(field) or 0) end

-- What is used in a window; nil when the counter is of another one.
local function counted(field, number)
  local value = cell(field)
  if not value then return nil end
  local colon = string.find(value, ':', 1, true)
  if string.sub(value, 1, colon - 1) ~= number then return nil end
  return tonumber(string.sub(value, colon + 1))
end

local function count(field, number, used) put(field, number .. ':' .. text(used)) end

-- The window to count in, and what is used in it. The one after the clock's is current once something was counted
-- in it: a clock that was set back, or is that of another server, must not begin a window anew.
local function current(field, name)
  local number, rest = window(name)
  local used = counted(field, number)
  if not used then
    local following = text(tonumber(number) + 1)
    used = counted(field, following)
    if used then number = following end
  end
  return number, used or 0, rest
end

-- Those of some items that nobody has paid yet, each once.
local function unpaid(kind, name, items)
  local found, asked, once = {}, {}, {}
  local prefix = kind .. ':' .. name .. ':'
  for first = 1, #items, CHUNK do
    local last = math.min(first + CHUNK - 1, #items)
    for i = first, last do asked[i - first + 1] = prefix .. items[i] end
    local paid = redis.call('SMISMEMBER', PAID, unpack(asked, 1, last - first + 1))
    for i = first, last do
      local member = asked[i - first + 1]
      if paid[i - first + 1] == 0 and not marked[member] and not once[member] then
        once[member] = true
        found[#found + 1] = items[i]
      end
    end
  end
  return found
end

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
    marked[member] = true
    marks[#marks + 1] = member
  end
  return #fresh * tonumber(amount.each)
end

-- What one amount costs when it is charged; `charge` is a number, a list of items, or else the reserve.
local function charged(amount, charge)
  if amount.fixed then charge = nil end
  if amount.items then return pay(amount, charge) end
  local reserved = tonumber(amount.reserved)
  if type(charge) ~= 'number' then return reserved end
  if amount.kind == 'quota' then return charge end -- rows returned count in full, even past the limit
  return math.min(charge, reserved)
end

-- Turn what was reserved into what it cost; windows that have ended are left alone. `places` gets what is counted
-- in each window because of it. Returns the change of the pool's total.
local function settle_amount(amount, cost, places)
  local reserved = tonumber(amount.reserved)
  local field, before, after, gone_from_total = 'quota:', reserved, cost, 0
  if amount.kind == 'credit' then
    field = 'included:'
    local taken = tonumber(amount.balance)
    local back = math.min(reserved - cost, taken) -- the balance gets its part back first
    gone_from_total = taken - back
    before, after = reserved - taken, cost - gone_from_total
    if taken > 0 then
      put('balance:' .. amount.name, text(units('balance:' .. amount.name) + back))
      put('total:' .. amount.name, text(units('total:' .. amount.name) - gone_from_total))
    end
  end
  for name, number in pairs(amount.windows) do
    local at = field .. amount.name .. ':' .. name
    local used = counted(at, number)
    local open = used and tonumber(number) >= tonumber((window(name)))
    if open then count(at, number, math.max(0, used + after - before)) end
    local place = places[name] or {number = number, units = 0}
    place.units = place.units + (open and after or before)
    places[name] = place
  end
  return 0 - gone_from_total
end

-- The windows of a cost as the journal has them, with the units only where they are others than the cost says.
local function placed(cost)
  local words = {}
  for _, name in ipairs(WINDOWS) do
    local place = cost.places[name]
    if place then
      local word = name .. ':' .. place.number
      if place.units ~= cost.counted then word = word .. ':' .. text(place.units) end
      words[#words + 1] = word
    end
  end
  return table.concat(words, ' ')
end

-- What the amounts of a call have come to, each kind and name once: its fields in the journal.
local function journaled(entry, costs, pools, paid)
  for _, cost in ipairs(costs) do
    entry[#entry + 1] = cost.field
    entry[#entry + 1] = text(cost.units)
    entry[#entry + 1] = cost.windows
    entry[#entry + 1] = placed(cost)
  end
  for _, pool in ipairs(pools) do
    entry[#entry + 1] = 'change:' .. pool.name
    entry[#entry + 1] = text(pool.change)
    entry[#entry + 1] = 'total:' .. pool.name
    entry[#entry + 1] = text(units('total:' .. pool.name))
  end
  if paid > 0 then
    put('journal:paid', text(units('journal:paid') + paid))
    entry[#entry + 1] = 'paid'
    entry[#entry + 1] = cell('journal:paid')
  end
  return entry
end

-- The element of a list for a key, made when it is met first.
local function once_in(list, key, made)
  if not list[key] then
    list[key] = made
    list[#list + 1] = made
  end
  return list[key]
end

-- Take a hold apart. Returns the receipt: kind, name and units, three words per amount.
local function resolve(call, hold, event, forwarded, charges)
  local receipt, costs, pools, paid = {}, {}, {}, #marks
  for i, amount in ipairs(hold.amounts) do
    local cost, field = 0, amount.kind .. ':' .. amount.name
    if event ~= 'released' or (amount.fixed and forwarded) then cost = charged(amount, charges[i]) end
    local entry = costs[field]
    if not entry then
      local counter = amount.kind == 'credit' and 'included:' or 'quota:'
      local windows = 'windows:' .. counter .. amount.name
      entry = once_in(costs, field, {field = field, windows = windows, units = 0, counted = 0, places = {}})
    end
    local change = settle_amount(amount, cost, entry.places)
    receipt[#receipt + 1] = amount.kind
    receipt[#receipt + 1] = amount.name
    receipt[#receipt + 1] = text(cost)
    entry.units = entry.units + cost
    entry.counted = entry.counted + cost + change
    if amount.kind == 'credit' then
      local pool = once_in(pools, amount.name, {name = amount.name, change = 0})
      pool.change = pool.change + change
    end
  end
  local entry = {'event', event, 'call', call, 'client', hold.client}
  journal[#journal + 1] = journaled(entry, costs, pools, #marks - paid)
  gone[#gone + 1] = call
  if hold.request then answered[#answered + 1] = hold.request end
  for _, event in ipairs(hold.events or {}) do answered[#answered + 1] = event end
  return receipt
end

-- Resolve the first holds whose owner has let the lease run out, from what the holds themselves record.
local function expire()
  local calls = redis.call('ZRANGEBYSCORE', LEASES, '-inf', text(now_ms), 'LIMIT', 0, EXPIRED_AT_ONCE)
  for _, call in ipairs(calls) do
    local raw = redis.call('HGET', HOLDS, call)
    if raw then
      local hold = cjson.decode(raw)
      local settles = hold.deferred or hold.on_unknown == 'settle'
      resolve(call, hold, settles and 'settled' or 'released', true, {})
      local entry = journal[#journal]
      entry[#entry + 1] = 'expired'
      entry[#entry + 1] = '1'
    else
      gone[#gone + 1] = call
    end
  end
  return #calls
end

local function flush()
  local words = {}
  for field, value in pairs(changed) do
    words[#words + 1] = field
    words[#words + 1] = value
  end
  if #words > 0 then redis.call('HSET', LEDGER, unpack(words)) end
  for first = 1, #marks, CHUNK do
    redis.call('SADD', PAID, unpack(marks, first, math.min(first + CHUNK - 1, #marks)))
  end
  if #gone > 0 then
    redis.call('HDEL', HOLDS, unpack(gone))
    redis.call('ZREM', LEASES, unpack(gone))
  end
  if #answered > 0 then redis.call('HDEL', REQUESTS, unpack(answered)) end
  if #begun > 0 then redis.call('HSET', REQUESTS, unpack(begun)) end
  write_journal(journal)
end
