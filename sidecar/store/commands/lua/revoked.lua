#!lua
-- Measure how long ago the revocation that applies to a caller was written, on the store's clock. Read only.
--
-- KEYS  1 consent  2 client  3 revocation of all clients
-- Returns the age in ms; nil when the caller is not revoked, or the record has no readable time
-- include consent.lua
local record = consent(KEYS[1], KEYS[2], KEYS[3])
local at = record and record[1] ~= 'granted' and plain_seconds(record[2])
if not at then return nil end
-- include clock.lua
return math.max(0, math.floor(now_ms - at * 1000))
