-- Texts of small numbers, which are most: to write one takes longer than to find it.
local texts_of_numbers = {}

-- tostring() and cjson round beyond 14 digits; amounts have up to 16.
local function text(number)
  local known = texts_of_numbers[number]
  if known then return known end
  local made = string.format('%.0f', number + 0) -- 0 for -0, which is the same key
  if number < 1000 and number >= 0 then texts_of_numbers[number] = made end
  return made
end
