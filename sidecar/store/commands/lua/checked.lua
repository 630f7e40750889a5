-- What is stored is read strictly: other programs and people write there, tonumber() takes '0x10', '1e3' and
-- 'nan', and a script that fails does not undo what it has written. So everything is read before the first
-- write, and what cannot be read ends the script with `MALFORMED`, its key and field; never the value.
local MAX = 9007199254740991 -- the largest amount that stays exact
local AN_AMOUNT = 'an integer from 0 to 9007199254740991'

-- An amount as it is stored; nil for anything else.
local function amount_of(word)
  if type(word) ~= 'string' or not string.find(word, '^%d+$') then return nil end
  local number = tonumber(word)
  return number <= MAX and number or nil
end

local function malformed(key, field, wanted)
  local place = (string.match(key, '}:(.*)$') or key) .. ' ' .. string.sub(field, 1, 100)
  error({err = 'MALFORMED ' .. string.gsub(place, '%c', '?') .. ' is not ' .. wanted})
end

local function is(key, kind)
  local found = redis.call('TYPE', key).ok
  return found == kind or found == 'none'
end
