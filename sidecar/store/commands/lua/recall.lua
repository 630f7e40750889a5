#!lua flags=allow-oom
-- Find the hold of a call after its response has passed on another call's stream. A hold that its owner has not
-- deferred is left to the owner; if the owner is dead and the response is a result, the reserve is charged when the
-- lease expires. `settlement.recall` is the model.
--
-- A client may reuse ids and replay streams to its advantage: so the reply says whether the stream is the resumed one
-- of the call itself. On any other stream the response may belong to an earlier request. It may write when memory is
-- short: settling a call must work.
--
-- KEYS  1 holds  2 requests
-- ARGV  1 digest of session and request id  2 whether it is a result with a price (1, 0)
--       3 digest of session and the event id that the stream was resumed from ('' for none)
-- Returns {call id, pricing context of the response, on_unknown, whether the stream is the call's own (1, 0)},
--       or nil when there is nothing to settle, or 0 for a result after its hold was released when the lease expired:
--       it must not be delivered
local HOLDS = KEYS[1]
-- include hold.lua
local call = redis.call('HGET', KEYS[2], ARGV[1])
if call == '' then return ARGV[2] == '1' and 0 or false end
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
