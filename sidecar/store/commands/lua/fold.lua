-- The fold of the journal's oldest entries into the checkpoint in the ledger. `verification.fold` and
-- `counters.fold_counters` are the model. Needs LEDGER USAGE, journal.lua.
-- Fold the oldest entries into the checkpoint. Sums add up the changes, the total is that of the last entry: where they
-- differ, another program has written an entry, and folding must not hide that.
local function fold()
  local FOLD_BATCH = 100 -- more than one script writes, so that the stream never stays above its most entries

  -- Numbers of the journal move no money: an unreadable one restarts at 0, and `usage --verify` reports it.
  local function stored(field) return amount_of(redis.call('HGET', LEDGER, field)) or 0 end

  -- Lifetime sums may exceed the exact range; they stop at MAX, and the verification skips those.
  local function capped(sum, by) return math.min(MAX, sum + by) end

  -- Returns the change in an entry; 0 when it is unreadable.
  local function signed(word)
    local sign, digits = string.match(word or '', '^(%-?)(%d+)$')
    local number = amount_of(digits) or 0
    return sign == '-' and 0 - number or number
  end

  -- Returns the checkpoint of a pool: total, granted, spent.
  local function folded_pool(name)
    local known = redis.call('HGET', LEDGER, 'checkpoint:' .. name) or ''
    local total, granted, spent = string.match(known, '^(%-?%d+):(%d+):(%d+)$')
    return {total or '0', amount_of(granted) or 0, amount_of(spent) or 0}
  end

  -- Returns the checkpoint of a counter: number of the newest window, units counted in it.
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

  -- Returns whether the entry has windows for all of its amounts; entries of earlier versions have none.
  local function fold_counters(counters, fields)
    local complete = true
    local priced = fields.event == SETTLED or fields.event == RELEASED or fields.event == 'spend'
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

  local entries = redis.call('XRANGE', USAGE, '-', '+', 'COUNT', FOLD_BATCH)
  local ids, pools, counters = {}, {}, {}
  -- The newest folded entry without windows. Earlier versions fold without checking.
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
  for first = 1, #words, CHUNK do
    redis.call('HSET', LEDGER, unpack(words, first, math.min(first + CHUNK - 1, #words)))
  end
  redis.call('XDEL', USAGE, unpack(ids))
end
