-- Time of the store's clock, read once, and its fixed UTC windows. `windows.window_at` is the model.
local clock = redis.call('TIME')
local now = tonumber(clock[1]) -- seconds since the epoch
local now_ms = now * 1000 + math.floor(tonumber(clock[2]) / 1000)

-- tostring() and cjson round beyond 14 digits; amounts have up to 16.
local function text(number) return string.format('%.0f', number) end

local function seconds() return string.format('%.0f.%03d', math.floor(now_ms / 1000), now_ms % 1000) end

-- generate WINDOWS
local floor = math.floor

-- Returns the number of the months' window that contains a moment, and the seconds until it ends.
local function months_window(months, at)
  -- Days from the epoch to the first of a month (0-11), and the month of a day. The year starts in March here, so that
  -- the leap day is its last (Howard Hinnant, days_from_civil).
  local function days_before(year, month)
    if month < 2 then year = year - 1 end
    local era = floor(year / 400)
    local of_era = year - era * 400
    local of_year = floor((153 * ((month + 10) % 12) + 2) / 5)
    return era * 146097 + of_era * 365 + floor(of_era / 4) - floor(of_era / 100) + of_year - 719468
  end

  local function month_of(day)
    local shifted = day + 719468
    local era = floor(shifted / 146097)
    local of_era = shifted - era * 146097
    local year = floor((of_era - floor(of_era / 1460) + floor(of_era / 36524) - floor(of_era / 146096)) / 365)
    local of_year = of_era - (365 * year + floor(year / 4) - floor(year / 100))
    local month = (floor((5 * of_year + 2) / 153) + 2) % 12
    year = year + era * 400
    if month < 2 then year = year + 1 end
    return year, month
  end

  local year, month = month_of(floor(at / 86400))
  local number = floor((year * 12 + month) / months)
  local following = (number + 1) * months
  return number, days_before(floor(following / 12), following % 12) * 86400 - at
end

-- Returns the number of the window that contains a moment, and the seconds until it ends.
local function window_at(name, at)
  local length, begins, months = unpack(WINDOW_RULES[name])
  if length == 0 then return months_window(months, at) end
  local since = at - begins
  return floor(since / length), length - since % length
end

local seen = {}
local function window(name)
  local known = seen[name]
  if not known then
    local number, rest = window_at(name, now)
    known = {text(number), rest}
    seen[name] = known
  end
  return known[1], known[2]
end
