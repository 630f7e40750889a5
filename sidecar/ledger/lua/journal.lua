-- The account's journal: the usage stream, whose entries are numbered, and the checkpoint of those that were
-- folded, in the ledger. `journal.fold` is its model. Needs LEDGER USAGE, clock.lua and checked.lua.
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

-- Take the oldest entries into the checkpoint. Sums are made of changes, the total is what the last entry
-- says: where they differ, an entry was written by somebody else, and folding it must not hide that.
local function fold()
  local entries = redis.call('XRANGE', USAGE, '-', '+', 'COUNT', FOLDED_AT_ONCE)
  local ids, pools = {}, {}
  local function pool_of(name)
    if not pools[name] then
      local known = redis.call('HGET', LEDGER, 'checkpoint:' .. name) or ''
      local total, granted, spent = string.match(known, '^(%-?%d+):(%d+):(%d+)$')
      pools[name] = {total or '0', amount_of(granted) or 0, amount_of(spent) or 0}
    end
    return pools[name]
  end
  for i, entry in ipairs(entries) do
    ids[i] = entry[1]
    local fields = entry[2]
    for at = 1, #fields, 2 do
      local kind, name = string.match(fields[at], '^(%l+):(.*)$')
      if kind == 'total' then
        pool_of(name)[1] = string.match(fields[at + 1], '^%-?%d+$') or '0'
      elseif kind == 'change' then
        local pool = pool_of(name)
        local change = string.match(fields[at + 1], '^%-?%d+$') and tonumber(fields[at + 1]) or 0
        if change > 0 then pool[2] = capped(pool[2], change) else pool[3] = capped(pool[3], 0 - change) end
      end
    end
  end
  local words = {'journal:folded', text(stored('journal:folded') + #ids), 'journal:last', ids[#ids]}
  for name, pool in pairs(pools) do
    words[#words + 1] = 'checkpoint:' .. name
    words[#words + 1] = pool[1] .. ':' .. text(pool[2]) .. ':' .. text(pool[3])
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
