-- Ledger of one account in memory: read when needed, changed here, written once by `flush`; a script that only reads
-- does not flush. `settlement.py` is the model. Needs LEDGER HOLDS LEASES PAID REQUESTS USAGE.
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
  if #fields == 0 then return end
  local values = redis.call('HMGET', LEDGER, unpack(fields))
  for i, field in ipairs(fields) do
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
  if changed[field] then return tonumber(value) end -- by this script; it may be below 0 and is then never written
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
  used = at and tonumber(used)
  if not used or used > MAX then
    return not lenient and malformed(LEDGER, field, 'a counter, WINDOW:USED') or nil
  end
  return at == number and used or nil
end

local function count(field, number, used) put(field, number .. ':' .. text(used)) end

-- Returns the current window, the units used in it, and the seconds until it ends. The window after the clock's is
-- current once it has counted something: a clock that was set back, or the clock of another server, must not restart a
-- window.
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

-- Returns the items that are not paid yet, each once.
local function unpaid(kind, name, items)
  local found, asked, once, new = {}, {}, {}, lists.paid or {}
  local prefix = kind .. ':' .. name .. ':'
  for first = 1, #items, CHUNK do
    local last = math.min(first + CHUNK - 1, #items)
    for i = first, last do asked[i - first + 1] = prefix .. items[i] end
    local paid = redis.call('SMISMEMBER', PAID, unpack(asked, 1, last - first + 1))
    for i = first, last do
      local member = asked[i - first + 1]
      if paid[i - first + 1] == 0 and not new[member] and not once[member] then
        once[member] = true
        found[#found + 1] = items[i]
      end
    end
  end
  return found
end

local function flush()
  local words = {}
  for field, value in pairs(changed) do
    words[#words + 1] = field
    words[#words + 1] = value
  end
  write_journal(journal, words, cells['journal:written'])
  if not next(lists) then return end
  in_chunks('SADD', PAID, lists.paid or {})
  if lists.resolved then
    redis.call('HDEL', HOLDS, unpack(lists.resolved))
    -- Not every script has read this key: a wrong type is left alone.
    redis.pcall('ZREM', LEASES, unpack(lists.resolved))
  end
  if lists.set_aside then redis.call('ZADD', LEASES, unpack(lists.set_aside)) end
  local old = lists.old_requests or {}
  for first = 1, #old, CHUNK do
    redis.pcall('HDEL', REQUESTS, unpack(old, first, math.min(first + CHUNK - 1, #old)))
  end
  -- Results of these requests must not be delivered: their calls were not charged.
  local most = 10000 -- remembered requests of an account after their holds were released when the leases expired
  for _, request in ipairs(lists.lapsed or {}) do
    if redis.call('HLEN', REQUESTS) < most then redis.call('HSET', REQUESTS, request, '') end
  end
  if lists.new_requests then redis.call('HSET', REQUESTS, unpack(lists.new_requests)) end
end
