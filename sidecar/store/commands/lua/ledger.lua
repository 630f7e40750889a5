-- Ledger of one account in memory: read when needed, changed here, written once by `flush`; a script that only reads
-- does not flush. `settlement.py` is the model. Needs LEDGER HOLDS LEASES PAID REQUESTS USAGE.
-- include windows.lua
-- include checked.lua
-- include journal.lua
local cells, changed, journal = {}, {}, {} -- fields read, fields to write, entries to write

-- Lists of words to write, made when they get their first word: calls with `resolved` holds, and their `old_requests`;
-- calls with holds that are `set_aside`, to be tried again later; `lapsed` requests, of calls that were not charged;
-- `new_requests`, of the call that is admitted; members to add to the `paid` items, also as keys.
local lists = {}

local function note(name, word)
  local list = lists[name] or {}
  lists[name] = list
  list[#list + 1] = word
end

local function preload(fields)
  if not fields[1] then return end
  local values = redis.call('HMGET', LEDGER, unpack(fields))
  for i = 1, #fields do
    local field = fields[i]
    -- A field that `expire` has changed is not written yet: the stored value is the old one.
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
  if changed[field] then return value + 0 end -- by this script; it may be below 0 and is then never written
  return amount_of(value) or malformed(LEDGER, field, AN_AMOUNT)
end

-- Returns balance plus held part of a pool; below 0 only after an edit by hand.
local function total_of(pool)
  local value = cell('total:' .. pool)
  if not value then return 0 end
  local sign, digits = string.match(value, '^(%-?)(%d+)$')
  local number = amount_of(digits) or malformed(LEDGER, 'total:' .. pool, 'an integer')
  return sign == '-' and 0 - number or number
end

-- Returns the units used in a window; nil when the counter is of another window. An unreadable counter fails the
-- script, so that no call uses more of it; `lenient` ignores it, so that calls that have used it can be resolved.
local function counted(field, number, lenient)
  local value = cell(field)
  if not value then return nil end
  local at, used = string.match(value, '^(%d+):(%d+)$')
  used = at and used + 0
  if not used or used > MAX then
    return not lenient and malformed(LEDGER, field, 'a counter, WINDOW:USED') or nil
  end
  return at == number and used or nil
end

local function flush()
  local words, last = {nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil}, 0 -- with room for the usual ones
  for field, value in pairs(changed) do
    words[last + 1], words[last + 2] = field, value
    last = last + 2
  end
  write_journal(journal, words, cells['journal:written'])
  if not next(lists) then return end
  local paid = lists.paid
  for first = 1, paid and #paid or 0, CHUNK do
    redis.call('SADD', PAID, unpack(paid, first, math.min(first + CHUNK - 1, #paid)))
  end
  if lists.resolved then
    redis.call('HDEL', HOLDS, unpack(lists.resolved))
    -- Not every script has read this key: a wrong type is left alone.
    redis.pcall('ZREM', LEASES, unpack(lists.resolved))
  end
  if lists.set_aside then redis.call('ZADD', LEASES, unpack(lists.set_aside)) end
  local old = lists.old_requests
  for first = 1, old and #old or 0, CHUNK do
    redis.pcall('HDEL', REQUESTS, unpack(old, first, math.min(first + CHUNK - 1, #old)))
  end
  -- Results of these requests must not be delivered: their calls were not charged.
  local most = 10000 -- remembered requests of an account after their holds were released when the leases expired
  for _, request in ipairs(lists.lapsed or {}) do
    if redis.call('HLEN', REQUESTS) < most then redis.call('HSET', REQUESTS, request, '') end
  end
  if lists.new_requests then redis.call('HSET', REQUESTS, unpack(lists.new_requests)) end
end
