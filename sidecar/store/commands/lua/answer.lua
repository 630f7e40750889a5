#!lua
-- Answer a pending approval, and notify every sidecar, or give one back after its call was not sent. `answer` and
-- `give_back` in `approval_records.py` are the model. The first answer counts.
--
-- KEYS  1 list of approvals
-- ARGV  1 accepted, declined or back  2 handle  3 subject that answers, or the call that gives it back
--       4 client that passes the answer on; '' on the account page
--       5 channel: mcp:revoked  6 message: digest(issuer id, account), a space, then answered:HANDLE or failed:HANDLE; the
--       sidecar whose call waits for the answer receives it
-- Returns the status of the approval; nil for one that the subject has not
-- include clock.lua
-- include approval.lua
-- generate APPROVAL_LIFE
local LIST, found = KEYS[1], approval_of(KEYS[1], ARGV[2])
if not found then return nil end

local function write(status)
  redis.call('ZADD', LIST, text(now_ms), found.handle)
  redis.call('EXPIRE', LIST, APPROVAL_LIFE / 1000 + 60) -- it may have been empty, and so gone
  redis.call('HSET', found.key, 'status', status, 'used', text(now_ms))
  return status
end

if ARGV[1] == 'back' then
  if found.status ~= 'used' or found.call ~= ARGV[3] then return nil end
  redis.call('HDEL', found.key, 'call')
  return write('accepted')
end
if found.subject ~= ARGV[3] or ARGV[4] ~= '' and found.client ~= ARGV[4] then return nil end
if found.status ~= 'pending' then return found.status end
write(ARGV[1])
redis.call('PUBLISH', ARGV[5], ARGV[6])
return ARGV[1]
