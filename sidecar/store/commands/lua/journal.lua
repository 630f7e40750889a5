-- Journal of an account: the usage stream with numbered entries. Needs LEDGER USAGE, clock.lua and checked.lua.
-- generate Resolution
local CHUNK = 1000 -- words that fit on Lua's stack at once; even, because many are pairs

-- Append entries, and write fields of the ledger with the number of the last one. This must be the first write of a
-- script: it fails when the stream's last id is the largest possible one. `written` is that number before, if it is
-- known; an unreadable one restarts at 0. `fields` are pairs.
local function write_journal(entries, fields, written)
  local MAX_ENTRIES = 10000 -- most entries of the stream
  local words, count = fields or {}, #entries
  if count > 0 then
    if written == nil then written = redis.call('HGET', LEDGER, 'journal:written') end
    local number = math.min(amount_of(written) or 0, MAX - count)
    for i = 1, count do
      number = number + 1
      redis.call('XADD', USAGE, '*', 'n', text(number), unpack(entries[i]))
    end
    local last = #words
    words[last + 1], words[last + 2] = 'journal:written', text(number)
  end
  for first = 1, #words, CHUNK do
    redis.call('HSET', LEDGER, unpack(words, first, math.min(first + CHUNK - 1, #words)))
  end
  if count > 0 and redis.call('XLEN', USAGE) > MAX_ENTRIES then -- rarely: so the functions are not made before
    -- include fold.lua
    fold()
  end
end
