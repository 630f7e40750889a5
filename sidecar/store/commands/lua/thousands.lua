-- Texts of large numbers in functions of the server: of two halves that were written before, because balances, counters
-- and moments keep their first digits. Needs text.lua and remembered.lua.
local thousands, thousand_count, endings = {}, 0, {} -- texts by the number of thousands, and by the rest
local written_text = text

text = function(number)
  local known = texts_of_numbers[number]
  if known then return known end
  if number < 1000 or number >= 10 ^ 15 or number % 1 ~= 0 then return written_text(number) end
  local rest = number % 1000
  local whole = (number - rest) / 1000
  local beginning, ending = thousands[whole], endings[rest]
  if beginning and ending then return beginning .. ending end
  local made = written_text(number)
  if not beginning then
    if thousand_count == MOST_REMEMBERED then thousands, thousand_count = {}, 0 end
    thousands[whole] = string.sub(made, 1, -4)
    thousand_count = thousand_count + 1
  end
  endings[rest] = string.sub(made, -3)
  return made
end
