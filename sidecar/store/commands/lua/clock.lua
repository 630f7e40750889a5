-- Time of the store's clock, read once.
local clock = redis.call('TIME')
local now = tonumber(clock[1]) -- seconds since the epoch
local now_ms = now * 1000 + math.floor(tonumber(clock[2]) / 1000)

-- tostring() and cjson round beyond 14 digits; amounts have up to 16.
local function text(number) return string.format('%.0f', number) end
