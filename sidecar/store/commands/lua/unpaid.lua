-- Paid items. Needs ledger.lua.
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
