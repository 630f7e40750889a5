#!lua flags=allow-oom
-- Remove the consent of one subject, or of every subject, to a client, also a revoked one, so that the client must be
-- approved again. Every sidecar is notified: where consents are required, access has ended.
--
-- KEYS  1 the record  2 the client's record for every subject  3 ledger  4 usage  5... further records to remove
-- ARGV  1 issuer id  2 account  3 subject ('' every)  4 client id  5 channel and 6 message, as of `revoke`
--       7 author, or absent
-- Returns command.ChangeCode: 0, or 2 when there was no record
-- include clock.lua
local LEDGER, USAGE = KEYS[3], KEYS[4]
-- include checked.lua
-- include journal.lua
-- include author.lua
-- include consent_entry.lua
-- generate ChangeCode
local removed = 0
for i, key in ipairs(KEYS) do
  if i == 1 or i > 4 then
    removed = removed + redis.call('DEL', key)
    local prefix, place = string.match(key, '^(.-}:)(.*)$')
    redis.pcall('ZREM', prefix .. 'consents', place)
  end
end
if removed == 0 then return UNKNOWN end
redis.call('PUBLISH', ARGV[5], ARGV[6])
-- `usage --verify` reports a corrupt journal; it must not keep access alive.
pcall(write_journal, {consent_entry('consent_removed', ARGV[3], ARGV[4], ARGV[7])})
return DONE
