-- The fold of the journal's oldest entries into the checkpoint in the ledger. `verification.fold` and
-- `counters.fold_counters` are the model. Needs LEDGER USAGE, journal.lua.
-- Fold the oldest entries into the checkpoint. Sums add up the changes, the total is that of the last entry: where they
-- differ, another program has written an entry, and folding must not hide that. Most entries have the same fields and
-- windows: what these mean is found out once.
local function fold()
  local FOLD_BATCH = 100 -- more than one script writes, so that the stream never stays above its most entries
  local pools, counters = {}, {} -- sums by pool, and by field of the counter
  local meanings, places = {}, {} -- what a field means; where a field is in the entry that is read last

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

  -- Returns the value of a field in an entry; nil without it.
  local function value_of(words, field)
    local at = places[field]
    if at and words[at] == field then return words[at + 1] end
  end

  -- Returns the checkpoint of a pool: total, granted, spent.
  local function pool_of(name)
    if not pools[name] then
      local known = redis.call('HGET', LEDGER, 'checkpoint:' .. name) or ''
      local total, granted, spent = string.match(known, '^(%-?%d+):(%d+):(%d+)$')
      pools[name] = {total or '0', amount_of(granted) or 0, amount_of(spent) or 0}
    end
    return pools[name]
  end

  -- Returns the checkpoint of a counter: number of the newest window, units counted in it.
  local function counter_of(field)
    if not counters[field] then
      local number, used = string.match(redis.call('HGET', LEDGER, field) or '', '^(%d+):(%d+)$')
      counters[field] = {amount_of(number) or -1, amount_of(used) or 0}
    end
    return counters[field]
  end

  -- Returns what a field means: of a pool its sums, of a priced amount its counter; false without a part in the sums.
  local function meaning_of(field)
    local kind, name = string.match(field, '^(%l+):(.*)$')
    if kind == 'total' or kind == 'change' then return {kind = kind, pool = pool_of(name)} end
    if kind ~= 'quota' and kind ~= 'credit' then return false end
    local counter = (kind == 'quota' and 'quota:' or 'included:') .. name
    local change = kind == 'credit' and 'change:' .. name or nil
    return {kind = kind, counter = counter, words = 'windows:' .. counter, change = change, windows = {}}
  end

  -- Returns the windows in which an amount counts: of each its counter, number, and units when they are not all.
  local function windows_of(counter, words)
    local found = {}
    for word in string.gmatch(words, '%S+') do
      local window_name, number, own = string.match(word, '^(%l+):(%d+):?(%d*)$')
      if number then
        found[#found + 1] = {counter_of('folded:' .. counter .. ':' .. window_name), amount_of(number) or -1, amount_of(own)}
      end
    end
    return found
  end

  -- Count one amount. Returns whether the entry has its windows; entries of earlier versions have none.
  local function count(meaning, units, words)
    local text_of_windows = value_of(words, meaning.words)
    if not text_of_windows then return false end
    local windows = meaning.windows[text_of_windows] or windows_of(meaning.counter, text_of_windows)
    meaning.windows[text_of_windows] = windows
    for i = 1, #windows do
      local known, number, own = windows[i][1], windows[i][2], windows[i][3]
      if number > known[1] then known[1], known[2] = number, 0 end
      if number == known[1] then known[2] = capped(known[2], own or units) end
    end
    return true
  end

  local function fold_pool(pool, kind, value)
    local number = string.match(value, '^%-?%d+$')
    if kind == 'total' then
      pool[1] = number or '0'
    else
      local change = signed(number)
      if change > 0 then pool[2] = capped(pool[2], change) else pool[3] = capped(pool[3], 0 - change) end
    end
  end

  -- Returns whether the entry has windows for all of its amounts.
  local function fold_entry(words)
    for at = 1, #words, 2 do places[words[at]] = at end
    local event, complete = value_of(words, 'event'), true
    local priced = event == SETTLED or event == RELEASED or event == 'spend'
    for at = 1, #words, 2 do
      local field, value = words[at], words[at + 1]
      local meaning = meanings[field]
      if meaning == nil then
        meaning = meaning_of(field)
        meanings[field] = meaning
      end
      if meaning and places[field] == at then -- of a name that is there twice, the last counts
        if meaning.pool then
          fold_pool(meaning.pool, meaning.kind, value)
        elseif meaning.kind == 'quota' or priced then
          local units = (amount_of(value) or 0) + (meaning.change and signed(value_of(words, meaning.change)) or 0)
          complete = count(meaning, units, words) and complete
        end
      end
    end
    return complete
  end

  local entries, ids = redis.call('XRANGE', USAGE, '-', '+', 'COUNT', FOLD_BATCH), {}
  -- The newest folded entry without windows. Earlier versions fold without checking.
  local folded = stored('journal:folded')
  local latest = folded == stored('journal:counted') and 'journal:uncounted' or 'journal:last'
  local uncounted = redis.call('HGET', LEDGER, latest) or '0-0'
  for i = 1, #entries do
    ids[i] = entries[i][1]
    if not fold_entry(entries[i][2]) then uncounted = ids[i] end
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
