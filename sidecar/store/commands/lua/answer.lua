#!lua
-- Answer a pending approval, or give one back after its call was not sent. `approval_records.answer` and `approval_records.give_back`
-- are the model. The first answer counts.
--
-- KEYS  1 list of approvals
-- ARGV  1 accepted, declined or back  2 handle  3 subject that answers, or the call that gives it back
--       4 client that passes the answer on; '' on the account page
-- Returns the status of the approval; nil for one that the subject has not
-- include clock.lua
-- include approval.lua
local LIST, found = KEYS[1], approval_of(KEYS[1], ARGV[2])
if not found then return nil end

local function write(status)
  redis.call('ZADD', LIST, text(now_ms), found.handle)
  redis.call('HSET', found.key, 'status', status, 'used', text(now_ms))
  return status
end

if ARGV[1] == 'back' then
  if found.status ~= 'used' or found.call ~= ARGV[3] then return nil end
  redis.call('HDEL', found.key, 'call')
  return write('accepted')
end
if found.subject ~= ARGV[3] or ARGV[4] ~= '' and found.client ~= ARGV[4] then return nil end
return found.status == 'pending' and write(ARGV[1]) or found.status
