#!lua
-- Change an account's record.
--
-- KEYS  1 account
-- ARGV  1 whether to create it (1, 0)  2 issuer id  3 account  4 number of words that follow as fields
--       5... field, value ...; after those, fields to remove
-- Returns changes.ChangeCode: 0 changed, 1 created, 2 unknown or deleted and not to be created
local deleted = redis.call('HEXISTS', KEYS[1], 'deleted') == 1
local known = redis.call('EXISTS', KEYS[1]) == 1 and not deleted
if not known and ARGV[1] ~= '1' then return 2 end
local last = 4 + tonumber(ARGV[4])
if deleted then
  redis.call('HDEL', KEYS[1], 'deleted')
  redis.call('HSET', KEYS[1], 'status', 'active')
end
redis.call('HSET', KEYS[1], 'issuer', ARGV[2], 'account', ARGV[3], unpack(ARGV, 5, last))
if #ARGV > last then redis.call('HDEL', KEYS[1], unpack(ARGV, last + 1)) end
return known and 0 or 1
