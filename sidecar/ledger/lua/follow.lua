#!lua
-- A stream that resumed the one of a deferred call has ended without the response, too: from now on it can
-- be resumed from its own events. `settlement.follow` is its model.
--
-- KEYS  1 holds  2 requests
-- ARGV  1 digest of session and the event id that it was resumed from  2... the same of its own events
-- Returns 1, or 0 when it resumed no deferred call
local FOLLOWED = 64 -- events of one call at most: the oldest are forgotten
local HOLDS = KEYS[1]
-- include hold.lua
local call = redis.call('HGET', KEYS[2], ARGV[1])
local hold = call and hold_of_call(call)
if not hold then return 0 end
local again, known = {}, hold.events or {}
for i = 2, #ARGV do again[ARGV[i]] = true end
hold.events = {}
for _, event in ipairs(known) do -- what is replayed is newer than it was, and there once
  if not again[event] then hold.events[#hold.events + 1] = event end
end
for i = 2, #ARGV do
  if again[ARGV[i]] then hold.events[#hold.events + 1] = ARGV[i] end
  again[ARGV[i]] = nil
  redis.call('HSET', KEYS[2], ARGV[i], call)
end
while #hold.events > FOLLOWED do redis.call('HDEL', KEYS[2], table.remove(hold.events, 1)) end
redis.call('HSET', KEYS[1], call, cjson.encode(hold))
return 1
