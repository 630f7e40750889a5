-- Time of the store's clock, read once.
-- include text.lua
local clock = redis.call('TIME')
local now = tonumber(clock[1]) -- seconds since the epoch
local now_ms = now * 1000 + math.floor(tonumber(clock[2]) / 1000)
