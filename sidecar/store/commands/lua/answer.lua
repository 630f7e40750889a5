#!lua
-- Answer a pending approval, and notify every sidecar. `approval_records.answer` is the model. The first answer counts.
--
-- KEYS  1 list of approvals
-- ARGV  1 accepted or declined  2 handle  3 subject that answers
--       4 client that passes the answer on; '' on the account page
--       5 channel: mcp:revoked  6 message: digest(issuer id, account), a space, then answered:HANDLE or failed:HANDLE; the
--       sidecar whose call waits for the answer receives it
-- Returns the status of the approval; nil for one that the subject has not
-- include clock.lua
-- include approval.lua
-- generate APPROVAL_LIFE
local LIST, found = KEYS[1], approval_of(KEYS[1], ARGV[2])
if not found then return nil end
if found.subject ~= ARGV[3] or ARGV[4] ~= '' and found.client ~= ARGV[4] then return nil end
if found.status ~= 'pending' then return found.status end
redis.call('ZADD', LIST, text(now_ms), found.handle)
redis.call('EXPIRE', LIST, APPROVAL_LIFE / 1000 + 60) -- it may have been empty, and so gone
redis.call('HSET', found.key, 'status', ARGV[1], 'used', text(now_ms))
redis.call('PUBLISH', ARGV[5], ARGV[6])
return ARGV[1]
