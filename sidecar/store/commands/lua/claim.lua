#!lua
-- Claim the id of a new session or task for its caller, or drop the claim. A binding has the hash tag of its account,
-- so it cannot show that the backend issued the same id to another account; a claim has the tag of the id, and does.
--
-- KEYS  1 claim
-- ARGV  1 claim or drop  2 digest of the account  3 digest of subject and client id ('' drops any caller's)
--       4 seconds until it expires; a longer expiry stays  5 issuer id  6 account  7 subject  8 client id
-- Returns 0 when the id belongs to another caller, else 1, or 2 when this command claimed (dropped) it
-- include clock.lua
-- include seconds.lua
local claim = redis.call('HMGET', KEYS[1], 'holder', 'consent')
local taken = claim[1] or claim[2]
local own = claim[1] == ARGV[2] and (claim[2] == ARGV[3] or (ARGV[1] == 'drop' and ARGV[3] == ''))
if ARGV[1] == 'drop' then
  if taken and not own then return 0 end
  return 1 + redis.call('DEL', KEYS[1])
end
if taken and not own then return 0 end
if taken then
  redis.call('EXPIRE', KEYS[1], ARGV[4], 'GT')
  return 1
end
redis.call('HSET', KEYS[1], 'holder', ARGV[2], 'consent', ARGV[3], 'issuer', ARGV[5], 'account', ARGV[6],
  'subject', ARGV[7], 'client_id', ARGV[8], 'at', seconds())
redis.call('EXPIRE', KEYS[1], ARGV[4])
return 2
