-- Fixed UTC windows. `windows.window_at` is the model. Needs clock.lua.
-- generate WINDOWS
-- Returns the number of the window that contains a moment, and the seconds until it ends.
local function window_at(name, at)
  local length, begins, months = window_rule(name)
  local floor = math.floor
  if length > 0 then
    local since = at - begins
    return floor(since / length), length - since % length
  end
  -- A year starts in March here, so that the leap day is its last (Howard Hinnant, civil_from_days, days_from_civil).
  local day = floor(at / 86400) + 719468
  local era = floor(day / 146097)
  local of_era = day - era * 146097
  local year = floor((of_era - floor(of_era / 1460) + floor(of_era / 36524) - floor(of_era / 146096)) / 365)
  local of_year = of_era - (365 * year + floor(year / 4) - floor(year / 100))
  local number = floor(((era * 400 + year) * 12 + floor((5 * of_year + 2) / 153) + 2) / months)
  local following = (number + 1) * months - 2 -- the first month of the next window
  year = floor(following / 12)
  era = floor(year / 400)
  of_era = year - era * 400
  of_year = floor((153 * (following - year * 12) + 2) / 5)
  day = era * 146097 + of_era * 365 + floor(of_era / 4) - floor(of_era / 100) + of_year - 719468
  return number, day * 86400 - at
end
