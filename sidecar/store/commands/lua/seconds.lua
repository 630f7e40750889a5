-- The time of clock.lua as records of other programs have it.
local function seconds() return string.format('%.0f.%03d', math.floor(now_ms / 1000), now_ms % 1000) end
