#!lua
-- Change an account's record.
--
-- KEYS  1 account
-- ARGV  1 whether to create it (1, 0)  2 issuer id  3 account  4 number of words that follow as fields
--       5... field, value ...; after those, fields to remove
-- Returns command.ChangeCode: 0 changed, 1 created, 2 unknown or deleted and not to be created
-- generate ChangeCode
local MAX_WORDS = 1000 -- words that fit on Lua's stack at once
local count = string.find(ARGV[4] or '', '^%d+$') and tonumber(ARGV[4])
if not count or count % 2 ~= 0 or #ARGV < 4 + count or #ARGV > MAX_WORDS then
  return redis.error_reply('ERR account_set.lua accepts as many words as ARGV 4 says, each field with its value, '
    .. 'and 1000 at most')
end
local deleted = redis.call('HEXISTS', KEYS[1], 'deleted') == 1
local known = redis.call('EXISTS', KEYS[1]) == 1 and not deleted
if not known and ARGV[1] ~= '1' then return UNKNOWN end
local words, last = {'issuer', ARGV[2], 'account', ARGV[3]}, 4 + count
if deleted then
  redis.call('HDEL', KEYS[1], 'deleted')
  words[5], words[6] = 'status', 'active' -- a status among the fields comes later and replaces this one
end
for i = 5, last do words[#words + 1] = ARGV[i] end
redis.call('HSET', KEYS[1], unpack(words))
if #ARGV > last then redis.call('HDEL', KEYS[1], unpack(ARGV, last + 1)) end
return known and DONE or CREATED
