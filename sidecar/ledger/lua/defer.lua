#!lua flags=allow-oom
-- Keep a hold open whose response may still pass on another stream of the session. At the end of the
-- lease it settles at what was reserved. `settlement.defer` is its model. It may write when memory is short,
-- or the lease would decide as if nobody knew of the call; it adds little, and calls that are open end.
--
-- KEYS  1 holds  2 requests
-- ARGV  1 call id  2 what pricing the response needs (JSON, `deferral.Context`)
--       3... digests of session and event id: where the call's stream can be resumed
-- Returns 1, or 0 when there is no such hold
local HOLDS = KEYS[1]
-- include hold.lua
local hold = hold_of_call(ARGV[1])
if not hold then return 0 end
hold.deferred = ARGV[2]
if #ARGV > 2 and not hold.events then -- given once more, it may have been followed meanwhile
  hold.events = {unpack(ARGV, 3)}
  for i = 3, #ARGV do redis.call('HSET', KEYS[2], ARGV[i], ARGV[1]) end
end
redis.call('HSET', KEYS[1], ARGV[1], cjson.encode(hold))
return 1
