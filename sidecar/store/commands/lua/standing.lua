#!lua
-- Gate 5 and the account's status, as `admit.lua` asks them, for callers whose streams are open. Read only.
--
-- KEYS  1 account  2, 3 consent and client record of one caller  4, 5 of the next ...
-- ARGV  1 consent mode (required, first_use)
-- Returns for each caller 0, or the code that refuses (model.AdmissionCode)
-- include consent.lua
local status = redis.call('HGET', KEYS[1], 'status')
local disabled = status and status ~= 'active'
local codes = {}
for i = 2, #KEYS, 2 do
  local record = consent(KEYS[i], KEYS[i + 1])
  local code = 0
  if record and record[1] ~= 'granted' then
    code = 3
  elseif not record and ARGV[1] ~= 'first_use' then
    code = 2
  elseif disabled then
    code = 5
  end
  codes[#codes + 1] = code
end
return codes
