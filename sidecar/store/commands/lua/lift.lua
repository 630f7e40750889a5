#!lua
-- Lift the revocation of all clients: under `first_use`, clients without a record are let in again. Consents that it
-- covers must be revoked before, by `revoke_all`: they would count again.
--
-- KEYS  1 revocation  2 ledger  3 usage
-- ARGV  1 author, or absent
-- Returns command.ChangeCode: 0 lifted, 2 there was no revocation
-- include clock.lua
local LEDGER, USAGE = KEYS[2], KEYS[3]
-- include checked.lua
-- include journal.lua
-- include author.lua
-- generate ChangeCode
if redis.call('EXISTS', KEYS[1]) == 0 then return UNKNOWN end
redis.call('HLEN', KEYS[1]) -- a key of another type is no revocation of ours
write_journal({signed({'event', 'consent_granted'}, ARGV[1])})
redis.call('DEL', KEYS[1])
return DONE
