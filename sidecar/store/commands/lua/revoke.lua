#!lua flags=allow-oom
-- Revoke the consent of one subject, or of every subject, to a client, and notify every sidecar. It writes when memory
-- is short, and when the journal cannot be written: revoked access must end.
--
-- KEYS  1 the record  2 the client's record for every subject  3 ledger  4 usage  5... further records to revoke
-- ARGV  1 issuer id  2 account  3 subject ('' every)  4 client id  5 channel: mcp:revoked
--       6 message: digest(issuer id, account), a space, then digest(subject, client id), or digest(client id) for
--       every subject; sidecars that receive it close the client's streams at once  7 author, or absent
-- Returns command.ChangeCode: 1 when there was no record, else 0
-- include clock.lua
-- include seconds.lua
local LEDGER, USAGE = KEYS[3], KEYS[4]
-- include checked.lua
-- include types.lua
-- include journal.lua
-- include author.lua
-- include consent_entry.lua
-- include consent_list.lua
-- generate ChangeCode
local created = redis.call('EXISTS', KEYS[1]) == 0 and CREATED or DONE
for i, key in ipairs(KEYS) do
  if i == 1 or i > 4 then
    if not has_type(key, 'hash') then redis.call('DEL', key) end -- a key of another type grants nothing
    redis.call('HSET', key, 'status', 'revoked', 'at', seconds())
    list_consent(key)
  end
end
redis.call('HSET', KEYS[1], 'issuer', ARGV[1], 'account', ARGV[2], 'client_id', ARGV[4])
if ARGV[3] ~= '' then redis.call('HSET', KEYS[1], 'subject', ARGV[3]) end
redis.call('PUBLISH', ARGV[5], ARGV[6])
-- `usage --verify` reports a corrupt journal; it must not keep access alive.
pcall(write_journal, {consent_entry('consent_revoked', ARGV[3], ARGV[4], ARGV[7])})
return created
