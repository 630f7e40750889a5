-- Counters of current windows. Needs ledger.lua.
local windows_seen = {} -- by name {first moment that was seen, its end, its number, the number as text}

-- Returns the number of the window that contains the present, also as text, and the seconds until it ends.
local function present(name)
  local seen = windows_seen[name]
  if not seen or now < seen[1] or now >= seen[2] then
    local order, rest = window_at(name, now)
    seen = {now, now + rest, order, text(order)}
    windows_seen[name] = seen
  end
  return seen[3], seen[4], seen[2] - now
end

-- Returns the current window, the units used in it, and the seconds until it ends. The window after the clock's is
-- current once it has counted something: a clock that was set back, or the clock of another server, must not restart a
-- window.
local function current(field, name)
  local order, number, rest = present(name)
  local used = counted(field, number)
  if not used then
    local following = text(order + 1)
    used = counted(field, following)
    if used then number = following end
  end
  return number, used or 0, rest
end
