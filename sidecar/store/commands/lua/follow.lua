#!lua
-- Add the events of a stream that resumed a deferred call and also ended without the response, so that it can be
-- resumed from them. `settlement.follow` is the model.
--
-- KEYS  1 holds  2 requests
-- ARGV  1 digest of session and the event id that it was resumed from  2... digests of its own events
-- Returns 1, or 0 when it resumed no deferred call
-- generate MAX_FOLLOWED_EVENTS
local HOLDS = KEYS[1]
-- include hold.lua
local call = redis.call('HGET', KEYS[2], ARGV[1])
local hold = call and hold_of_call(call)
if not hold then return 0 end
local replayed, known = {}, hold.events or {}
for i = 2, #ARGV do replayed[ARGV[i]] = true end
hold.events = {}
for _, event in ipairs(known) do -- a replayed event moves to the end, and is listed once
  if not replayed[event] then hold.events[#hold.events + 1] = event end
end
for i = 2, #ARGV do
  if replayed[ARGV[i]] then hold.events[#hold.events + 1] = ARGV[i] end
  replayed[ARGV[i]] = nil
  redis.call('HSET', KEYS[2], ARGV[i], call)
end
while #hold.events > MAX_FOLLOWED_EVENTS do redis.call('HDEL', KEYS[2], table.remove(hold.events, 1)) end
redis.call('HSET', KEYS[1], call, cjson.encode(hold))
return 1
