#!lua
-- Grant the consent of one subject, or of every subject, to a client.
--
-- KEYS  1 the record  2 the client's record for every subject  3 ledger  4 usage  5... further records to grant, and
--       the account's `revocation` of all clients, which only makes this grant newer than itself
-- ARGV  1 issuer id  2 account  3 subject ('' every)  4 client id  5, 6 not used here
--       7 scopes, separated by spaces; absent lists none  8 author, or absent  9 1: ARGV 7 lists none either
--       10 name of the client for lists, or absent: a name that the record has stays
-- Returns command.ChangeCode: 1 when there was no record, else 0
-- include clock.lua
local LEDGER, USAGE = KEYS[3], KEYS[4]
-- include checked.lua
-- include journal.lua
-- include author.lua
-- include consent_entry.lua
-- generate ChangeCode
-- include consent.lua
-- include consent_list.lua
local function is_revocation(key) return string.sub(key, -12) == '}:revocation' end
-- Keys of the wrong type fail here, before the first write.
redis.call('XLEN', USAGE)
redis.call('HLEN', LEDGER)
for i, key in ipairs(KEYS) do
  if i < 3 or i > 4 then redis.call('HLEN', key) end
end
local created = redis.call('EXISTS', KEYS[1]) == 0 and CREATED or DONE
-- A grant must be newer than the revocation that it overrides, also when the clock has stopped or gone back.
local at = now_ms / 1000
for i = 2, #KEYS do
  local older = (i == 2 or is_revocation(KEYS[i])) and plain_seconds(redis.call('HGET', KEYS[i], 'at'))
  if older and older >= at then at = older + 0.001 end
end
write_journal({consent_entry('consent_granted', ARGV[3], ARGV[4], ARGV[8])})
for i, key in ipairs(KEYS) do
  if i == 1 or i > 4 and not is_revocation(key) then
    redis.call('HSET', key, 'status', 'granted', 'at', string.format('%.3f', at))
    list_consent(key)
    if ARGV[7] and ARGV[9] ~= '1' then redis.call('HSET', key, 'scopes', ARGV[7]) else redis.call('HDEL', key, 'scopes') end
  end
end
redis.call('HSET', KEYS[1], 'issuer', ARGV[1], 'account', ARGV[2], 'client_id', ARGV[4])
if ARGV[3] ~= '' then redis.call('HSET', KEYS[1], 'subject', ARGV[3]) end
if ARGV[10] and ARGV[10] ~= '' then redis.call('HSET', KEYS[1], 'client_name', ARGV[10]) end
return created
