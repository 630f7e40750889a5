#!lua
-- Keep a hold open whose response may still pass on another stream of the session. At the end of the
-- lease it settles at what was reserved. `settlement.defer` is its model.
--
-- KEYS  1 holds
-- ARGV  1 call id  2 what pricing the response needs (JSON, `pricing.Context`)
-- Returns 1, or 0 when there is no such hold
local raw = redis.call('HGET', KEYS[1], ARGV[1])
if not raw then return 0 end
local hold = cjson.decode(raw)
hold.deferred = ARGV[2]
redis.call('HSET', KEYS[1], ARGV[1], cjson.encode(hold))
return 1
