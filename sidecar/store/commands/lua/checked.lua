-- Strict reading of stored values: other programs and operators write them too, tonumber() accepts '0x10', '1e3' and
-- 'nan', and a script that fails does not undo its writes. So everything is read before the first write, and an
-- unreadable value ends the script with `MALFORMED`, its key and field; never the value.
-- generate MAX_AMOUNT

-- Returns a stored amount; nil for anything else.
local function amount_of(word)
  if type(word) ~= 'string' or not string.find(word, '^%d+$') then return nil end
  local number = word + 0
  return number <= MAX and number or nil
end

local function malformed(key, field, wanted)
  local place = (string.match(key, '}:(.*)$') or key) .. ' ' .. string.sub(field, 1, 100)
  error({err = 'MALFORMED ' .. string.gsub(place, '%c', '?') .. ' is not ' .. wanted})
end
