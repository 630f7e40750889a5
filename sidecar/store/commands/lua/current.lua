-- Counters of current windows. Needs ledger.lua.
-- Returns the current window, the units used in it, and the seconds until it ends. The window after the clock's is
-- current once it has counted something: a clock that was set back, or the clock of another server, must not restart a
-- window.
local function current(field, name)
  local order, rest = window_at(name, now)
  local number = text(order)
  local used = counted(field, number)
  if not used then
    local following = text(order + 1)
    used = counted(field, following)
    if used then number = following end
  end
  return number, used or 0, rest
end
