#!lua flags=allow-oom
-- Keep a hold open for a response that may still pass on another stream of the session. When its lease expires, the
-- reserve is charged. `settlement.defer` is the model. It may write when memory is short: otherwise the lease would be resolved
-- as if the owner had died. It adds little memory, and open calls end.
--
-- KEYS  1 holds  2 requests
-- ARGV  1 call id  2 pricing context of the response (JSON, `deferral.Context`)
--       3... digests of session and event id, from which the call's stream can be resumed
-- Returns 1, or 0 without a hold
local HOLDS = KEYS[1]
-- include hold.lua
local hold = hold_of_call(ARGV[1])
if not hold then return 0 end
hold.deferred = ARGV[2]
if #ARGV > 2 and not hold.events then -- on a repetition, `follow` may have added events in between
  hold.events = {unpack(ARGV, 3)}
  for i = 3, #ARGV do redis.call('HSET', KEYS[2], ARGV[i], ARGV[1]) end
end
redis.call('HSET', KEYS[1], ARGV[1], cjson.encode(hold))
return 1
