#!lua flags=allow-oom
-- Revoke every client of an account, also clients that are not known yet, and notify every sidecar. It writes when
-- memory is short, and when the journal cannot be written: revoked access must end.
--
-- KEYS  1 revocation  2 ledger  3 usage  4... consents and client records
-- ARGV  1 issuer id  2 account  3 channel: mcp:revoked  4 message: digest(issuer id, account), a space, then *
--       5 all: write the revocation, and revoke the records; records: revoke the records only; covered: revoke only
--       those of them that are not newer than the existing revocation
--       6 author, or absent
-- Returns {command.ChangeCode: 1 when there was no revocation, else 0; number of records revoked}
-- include clock.lua
-- include seconds.lua
local LEDGER, USAGE = KEYS[2], KEYS[3]
-- include checked.lua
-- include types.lua
-- include journal.lua
-- include author.lua
-- include consent.lua
-- generate ChangeCode
local covered = ARGV[5] == 'covered'
local writes = not covered and ARGV[5] ~= 'records'
if writes and not has_type(KEYS[1], 'hash') then redis.call('DEL', KEYS[1]) end
local code = redis.call('EXISTS', KEYS[1]) == 0 and CREATED or DONE
if writes then
  -- Newer than the revocation before it, also when the clock has stopped or gone back, and so than a grant after that.
  local at, before = now_ms / 1000, plain_seconds(redis.call('HGET', KEYS[1], 'at'))
  if before and before >= at then at = before + 0.001 end
  redis.call('HSET', KEYS[1], 'status', 'revoked', 'at', string.format('%.3f', at), 'issuer', ARGV[1],
    'account', ARGV[2])
  redis.call('PUBLISH', ARGV[3], ARGV[4])
  -- `usage --verify` reports a corrupt journal; it must not keep access alive.
  pcall(write_journal, {signed({'event', 'consent_revoked'}, ARGV[6])})
end
local at, none = nil, false
if covered then
  at = plain_seconds(redis.call('HGET', KEYS[1], 'at'))
  none = code == CREATED or redis.call('HGET', KEYS[1], 'status') == 'granted'
end
local revoked = 0
for i = 4, #KEYS do
  local key = KEYS[i]
  -- A key of another type grants nothing.
  if not none and has_type(key, 'hash') and redis.call('HGET', key, 'status') == 'granted' then
    local mine = plain_seconds(redis.call('HGET', key, 'at'))
    if not (covered and mine and at and mine > at) then
      redis.call('HSET', key, 'status', 'revoked', 'at', seconds())
      revoked = revoked + 1
    end
  end
end
return {code, revoked}
