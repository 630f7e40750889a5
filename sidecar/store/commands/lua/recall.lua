#!lua flags=allow-oom
-- A response has passed on a stream that was not its call's own: find the hold of that call. One whose
-- owner has not deferred it is left to its owner; if that one has died, and the response was a result, the
-- lease charges what was reserved. `settlement.recall` is its model.
--
-- Ids are used again, and streams replayed, by whom that serves: so it is told whether the stream is the
-- call's own that was resumed. On any other the response may be that of an earlier request. It may write when
-- memory is short: what settles a call has to pass.
--
-- KEYS  1 holds  2 requests
-- ARGV  1 digest of session and request id  2 whether it is a result that costs something (1, 0)
--       3 digest of session and the event id that the stream was resumed from ('' for none)
-- Returns {call id, what pricing the response needs, on_unknown, whether the stream is the call's own (1, 0)},
--       or nil when nothing is to be settled
local HOLDS = KEYS[1]
-- include hold.lua
local call = redis.call('HGET', KEYS[2], ARGV[1])
local hold = call and hold_of_call(call)
if not hold then return false end
if hold.deferred and hold.deferred ~= '' then
  local own = ARGV[3] ~= '' and redis.call('HGET', KEYS[2], ARGV[3]) == call
  return {call, hold.deferred, hold.on_unknown, own and 1 or 0}
end
if ARGV[2] == '1' and not hold.deferred then
  hold.deferred = ''
  redis.call('HSET', KEYS[1], call, cjson.encode(hold))
end
return false
