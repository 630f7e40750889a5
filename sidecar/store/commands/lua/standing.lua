#!lua
-- Check gate 5 and the account's status, like `admit.lua`, for callers with open streams. Read only.
--
-- KEYS  1 account  2 revocation of all clients  3, 4 consent and client record of one caller  5, 6 of the next ...
-- ARGV  1 consent mode (required, first_use)
-- Returns for each caller 0, or the code that refuses (model.AdmissionCode); then the account's plan, or ''
-- include consent.lua
-- generate AdmissionCode
local status = redis.call('HGET', KEYS[1], 'status')
local disabled = status and status ~= 'active'
local codes = {}
for i = 3, #KEYS, 2 do
  local record = consent(KEYS[i], KEYS[i + 1], KEYS[2])
  local code = ADMITTED
  if record and record[1] ~= 'granted' then
    code = CONSENT_REVOKED
  elseif not record and ARGV[1] ~= 'first_use' then
    code = CONSENT_MISSING
  elseif disabled then
    code = ACCOUNT_DISABLED
  end
  codes[#codes + 1] = code
end
codes[#codes + 1] = redis.call('HGET', KEYS[1], 'plan') or ''
return codes
