-- One account's ledger in memory: read when needed, changed here, written once by `flush`; a script that
-- only looks does not flush. `settlement.py` is its model. Needs LEDGER HOLDS LEASES PAID REQUESTS USAGE.
-- include hold.lua
-- include journal.lua
local EXPIRED_AT_ONCE = 16
local ASIDE_FOR = 86400000 -- ms until a hold that could not be resolved is looked at again

local cells, changed, journal, gone, aside, answered, begun = {}, {}, {}, {}, {}, {}, {}
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

local function units(field)
  local value = cell(field)
  if not value then return 0 end
  if changed[field] then return tonumber(value) end -- by this script, perhaps below 0 and never to be written
  return amount_of(value) or malformed(LEDGER, field, AN_AMOUNT)
end

-- Balance and held part of a pool; below 0 only where somebody else has written it.
local function total_of(pool)
  local value = cell('total:' .. pool)
  if not value then return 0 end
  local sign, digits = string.match(value, '^(%-?)(%d+)$')
  local number = amount_of(digits) or malformed(LEDGER, 'total:' .. pool, 'an integer')
  return sign == '-' and 0 - number or number
end

-- What is used in a window; nil when the counter is of another one. One that cannot be read lets no call use
-- more of it, but `lenient` leaves it alone, so that calls that have used it can be resolved.
local function counted(field, number, lenient)
  local value = cell(field)
  if not value then return nil end
  local at, used = string.match(value, '^(%d+):(%d+)$')
  used = amount_of(used)
  if not used and lenient then return nil end
  if not used then malformed(LEDGER, field, 'a counter, WINDOW:USED') end
  return at == number and used or nil
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
  for first = 1, #items, STACKED do
    local last = math.min(first + STACKED - 1, #items)
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
    local taken, pool = tonumber(amount.balance), amount.name
    local back = math.min(reserved - cost, taken) -- the balance gets its part back first
    gone_from_total = taken - back
    before, after = reserved - taken, cost - gone_from_total
    if taken > 0 then
      local balance, total = units('balance:' .. pool), total_of(pool) - gone_from_total
      -- Whatever somebody has written into a hold, it lifts no balance above the pool's total.
      put('balance:' .. pool, text(math.max(balance, math.min(balance + back, total))))
      put('total:' .. pool, text(total))
    end
  end
  for name, number in pairs(amount.windows) do
    local at = field .. amount.name .. ':' .. name
    local used = counted(at, number, true)
    local open = used and tonumber(number) >= tonumber((window(name)))
    if open then count(at, number, math.min(MAX, math.max(0, used + after - before))) end
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
    entry[#entry + 1] = text(total_of(pool.name))
  end
  if paid > 0 then
    put('journal:paid', text(math.min(MAX, (amount_of(cell('journal:paid')) or 0) + paid)))
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
    entry.units = math.min(MAX, entry.units + cost)
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

-- Whether all that a hold touches can be read.
local function resolvable(hold)
  for _, amount in ipairs(hold.amounts) do
    local pool = amount.name
    if amount.kind == 'credit' then -- the journal tells the total, also where nothing came from the balance
      if amount.balance ~= '0' and not pcall(units, 'balance:' .. pool) then return false end
      if not pcall(total_of, pool) then return false end
    end
    if amount.items and not is(PAID, 'set') then return false end
  end
  return true
end

-- Resolve the first holds whose owner has let the lease run out, from what the holds themselves record. One
-- that somebody has made unreadable must not stop the account: it is set aside as it is, and looked at again
-- when a day has passed. What it took stays taken until somebody repairs it.
local function expire()
  local calls = redis.call('ZRANGEBYSCORE', LEASES, '-inf', text(now_ms), 'LIMIT', 0, EXPIRED_AT_ONCE)
  for _, call in ipairs(calls) do
    local raw = redis.call('HGET', HOLDS, call)
    local hold = raw and hold_of(raw)
    if not raw then
      gone[#gone + 1] = call
    elseif not hold or not resolvable(hold) then
      aside[#aside + 1] = text(now_ms + ASIDE_FOR)
      aside[#aside + 1] = call
      journal[#journal + 1] = {'event', 'set_aside', 'call', call}
    else
      local settles = hold.deferred or hold.on_unknown == 'settle'
      resolve(call, hold, settles and 'settled' or 'released', true, {})
      local entry = journal[#journal]
      entry[#entry + 1] = 'expired'
      entry[#entry + 1] = '1'
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
  write_journal(journal)
  in_chunks('HSET', LEDGER, words)
  in_chunks('SADD', PAID, marks)
  if #gone > 0 then
    redis.call('HDEL', HOLDS, unpack(gone))
    redis.pcall('ZREM', LEASES, unpack(gone)) -- not everything has read these: what is of another type stays
  end
  if #aside > 0 then redis.call('ZADD', LEASES, unpack(aside)) end
  for first = 1, #answered, STACKED do
    redis.pcall('HDEL', REQUESTS, unpack(answered, first, math.min(first + STACKED - 1, #answered)))
  end
  if #begun > 0 then redis.call('HSET', REQUESTS, unpack(begun)) end
end
