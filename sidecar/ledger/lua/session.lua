#!lua
-- Bind a session to its caller, look whether it is the caller's, or end it.
--
-- KEYS  1 session
-- ARGV  1 bind, touch or end  2 digest of subject and client id  3 subject  4 client id
--       5 seconds it lives without being used
-- Returns 1, or 0 when the session is not this caller's
-- include clock.lua
local bound = redis.call('HGET', KEYS[1], 'consent')
if ARGV[1] == 'bind' then
  if bound and bound ~= ARGV[2] then return 0 end -- a session is never taken from its caller
  redis.call('HSET', KEYS[1], 'consent', ARGV[2], 'subject', ARGV[3], 'client_id', ARGV[4], 'at', seconds())
elseif bound ~= ARGV[2] then
  return 0
end
if ARGV[1] == 'end' then
  redis.call('DEL', KEYS[1])
else
  redis.call('EXPIRE', KEYS[1], ARGV[5])
end
return 1
