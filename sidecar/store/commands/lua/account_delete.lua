#!lua flags=allow-oom
-- Delete an account's money, holds, paid items, journal, sessions, tasks and granted consents. Revocations stay, a
-- record that keeps the account disabled until it is set again, and a journal that begins with the forfeited credits.
--
-- KEYS  1 ledger  2 holds  3 leases  4 paid  5 requests  6 usage  7 account  8 list of approvals
--       9... consents, client records, sessions and tasks, and the two lists of those
-- ARGV  1 issuer id  2 account  3 author, or absent
-- Returns command.ChangeCode: 0, or 2 for an unknown account
-- include clock.lua
-- include seconds.lua
local LEDGER, USAGE = KEYS[1], KEYS[6]
-- include checked.lua
-- include journal.lua
-- include author.lua
-- generate ChangeCode
local MAX_POOLS = 1000 -- pools that one entry names
local known = false
for _, key in ipairs(KEYS) do -- one by one: sessions and tasks may be more than fit on Lua's stack
  known = redis.call('EXISTS', key) == 1
  if known then break end
end
if not known then return UNKNOWN end
local entry = signed({'event', 'account_deleted'}, ARGV[3])
if redis.call('TYPE', LEDGER).ok == 'hash' then
  local ledger = redis.call('HGETALL', LEDGER)
  for i = 1, #ledger, 2 do
    if string.sub(ledger[i], 1, 6) == 'total:' and #entry < 2 * MAX_POOLS then
      entry[#entry + 1] = 'forfeited:' .. string.sub(ledger[i], 7)
      entry[#entry + 1] = string.match(ledger[i + 1], '^%-?%d+$') or 'unknown'
    end
  end
end
if redis.call('TYPE', KEYS[8]).ok == 'zset' then
  for _, handle in ipairs(redis.call('ZRANGE', KEYS[8], 0, -1)) do
    redis.call('DEL', string.sub(KEYS[8], 1, -2) .. ':' .. handle)
  end
end
for i = 9, #KEYS do
  -- A key that is not a hash is not a revocation.
  if redis.pcall('HGET', KEYS[i], 'status') ~= 'revoked' then redis.call('DEL', KEYS[i]) end
end
for i = 1, 8 do redis.call('DEL', KEYS[i]) end
redis.call('HSET', KEYS[7], 'issuer', ARGV[1], 'account', ARGV[2], 'status', 'disabled', 'deleted', seconds())
write_journal({entry})
return DONE
