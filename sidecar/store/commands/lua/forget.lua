#!lua
-- Remove the consent of one subject, or of every subject, to a client, and notify every sidecar: as if the client had
-- never been decided about. Under `first_use` its next call makes a new record.
--
-- KEYS  1 ledger  2 usage  3... records to remove
-- ARGV  1 client id  2 subject ('' every)  3 channel: mcp:revoked  4 message, as of revoke.lua  5 author
-- Returns the number of removed records
-- include clock.lua
local LEDGER, USAGE = KEYS[1], KEYS[2]
-- include checked.lua
-- include journal.lua
-- include author.lua
local found = 0
for i = 3, #KEYS do found = found + redis.call('EXISTS', KEYS[i]) end
if found == 0 then return 0 end
local entry = {'event', 'consent_removed', 'client', ARGV[1]}
if ARGV[2] ~= '' then
  entry[#entry + 1] = 'subject'
  entry[#entry + 1] = ARGV[2]
end
write_journal({signed(entry, ARGV[5])})
for i = 3, #KEYS do redis.call('DEL', KEYS[i]) end
redis.call('PUBLISH', ARGV[3], ARGV[4])
return found
