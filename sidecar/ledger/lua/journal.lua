-- The account's journal: the usage stream, whose entries are numbered, and the checkpoint of those that were
-- folded, in the ledger. `journal.fold` and `fold_counters` are its model. Needs LEDGER USAGE, clock.lua and
-- checked.lua.
local KEPT = 10000 -- entries the stream keeps at most
local FOLDED_AT_ONCE = 100 -- more than one script can write, so that the stream never stays longer than that

local STACKED = 1000 -- words that go on Lua's stack at once; even, because many are pairs

-- Numbers of the journal move no money: one that cannot be read is begun anew, and `usage --verify` names it.
local function stored(field) return amount_of(redis.call('HGET', LEDGER, field)) or 0 end

local function in_chunks(command, key, words)
  for first = 1, #words, STACKED do
    redis.call(command, key, unpack(words, first, math.min(first + STACKED - 1, #words)))
  end
end

-- Sums of a lifetime may pass what stays exact; they stop there, and whoever compares them knows.
local function capped(sum, by) return math.min(MAX, sum + by) end

-- A change as an entry has it; 0 when somebody has written something else.
local function signed(word)
  local sign, digits = string.match(word or '', '^(%-?)(%d+)$')
  local number = amount_of(digits) or 0
  return sign == '-' and 0 - number or number
end

-- What the checkpoint says of a pool: total, granted, spent.
local function folded_pool(name)
  local known = redis.call('HGET', LEDGER, 'checkpoint:' .. name) or ''
  local total, granted, spent = string.match(known, '^(%-?%d+):(%d+):(%d+)$')
  return {total or '0', amount_of(granted) or 0, amount_of(spent) or 0}
end

-- What the checkpoint says of a counter: number of the newest window, units counted in it.
local function folded_counter(field)
  local number, used = string.match(redis.call('HGET', LEDGER, field) or '', '^(%d+):(%d+)$')
  return {amount_of(number) or -1, amount_of(used) or 0}
end

local function fold_pools(pools, fields)
  for field, value in pairs(fields) do
    local kind, name = string.match(field, '^(%l+):(.*)$')
    if kind == 'total' or kind == 'change' then
      pools[name] = pools[name] or folded_pool(name)
      local pool = pools[name]
      local number = string.match(value, '^%-?%d+$')
      if kind == 'total' then
        pool[1] = number or '0'
      else
        local change = signed(number)
        if change > 0 then pool[2] = capped(pool[2], change) else pool[3] = capped(pool[3], 0 - change) end
      end
    end
  end
end

-- Returns whether the entry says where all of its amounts were counted; those of earlier versions do not.
local function fold_counters(counters, fields)
  local complete = true
  local priced = fields.event == 'settled' or fields.event == 'released' or fields.event == 'spend'
  for field, value in pairs(fields) do
    local kind, name = string.match(field, '^(%l+):(.*)$')
    if kind == 'quota' or (kind == 'credit' and priced) then
      local counter = (kind == 'quota' and 'quota:' or 'included:') .. name
      local units = (amount_of(value) or 0) + (kind == 'credit' and signed(fields['change:' .. name]) or 0)
      complete = complete and fields['windows:' .. counter] ~= nil
      for word in string.gmatch(fields['windows:' .. counter] or '', '%S+') do
        local window_name, number, own = string.match(word, '^(%l+):(%d+):?(%d*)$')
        if number then
          local at = 'folded:' .. counter .. ':' .. window_name
          counters[at] = counters[at] or folded_counter(at)
          local known = counters[at]
          number = amount_of(number) or -1
          if number > known[1] then known[1], known[2] = number, 0 end
          if number == known[1] then known[2] = capped(known[2], amount_of(own) or units) end
        end
      end
    end
  end
  return complete
end

-- Take the oldest entries into the checkpoint. Sums are made of changes, the total is what the last entry
-- says: where they differ, an entry was written by somebody else, and folding it must not hide that.
local function fold()
  local entries = redis.call('XRANGE', USAGE, '-', '+', 'COUNT', FOLDED_AT_ONCE)
  local ids, pools, counters = {}, {}, {}
  -- The newest folded entry that does not say where it counts. Earlier versions fold without looking.
  local folded = stored('journal:folded')
  local latest = folded == stored('journal:counted') and 'journal:uncounted' or 'journal:last'
  local uncounted = redis.call('HGET', LEDGER, latest) or '0-0'
  for i, entry in ipairs(entries) do
    ids[i] = entry[1]
    local fields = {}
    for at = 1, #entry[2], 2 do fields[entry[2][at]] = entry[2][at + 1] end
    fold_pools(pools, fields)
    if not fold_counters(counters, fields) then uncounted = ids[i] end
  end
  folded = text(folded + #ids)
  local words = {
    'journal:folded', folded, 'journal:counted', folded, 'journal:last', ids[#ids], 'journal:uncounted', uncounted,
  }
  for name, pool in pairs(pools) do
    words[#words + 1] = 'checkpoint:' .. name
    words[#words + 1] = pool[1] .. ':' .. text(pool[2]) .. ':' .. text(pool[3])
  end
  for field, counter in pairs(counters) do
    words[#words + 1] = field
    words[#words + 1] = text(counter[1]) .. ':' .. text(counter[2])
  end
  in_chunks('HSET', LEDGER, words)
  redis.call('XDEL', USAGE, unpack(ids))
end

-- The first write of a script: a stream whose last id is the largest there is takes no entry.
local function write_journal(entries)
  if #entries == 0 then return end
  local number = math.min(stored('journal:written'), MAX - #entries)
  for _, entry in ipairs(entries) do
    number = number + 1
    redis.call('XADD', USAGE, '*', 'n', text(number), unpack(entry))
  end
  redis.call('HSET', LEDGER, 'journal:written', text(number))
  if redis.call('XLEN', USAGE) > KEPT then fold() end
end
