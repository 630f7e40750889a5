-- Gates 5 and 6 of an admission. Needs the call of admission.lua, remembered.lua and the codes.
-- include consent.lua
-- Gates 5 and 6. Returns the code, the consent record if there is one, the terms of the plan (JSON), and the account's
-- own limits by field (nil when it has none). `others` is for `consent`.
local function standing(others)
  for i = 12, bound do
    if redis.call('HGET', KEYS[i], 'consent') ~= string.sub(KEYS[2], -32) then
      return i == 12 and ARGV[12] == '1' and SESSION_UNKNOWN or TASK_UNKNOWN
    end
  end
  local record = consent(KEYS[2], KEYS[3], KEYS[4], others)
  if record then
    local at = plain_seconds(record[2])
    answer[3], answer[4] = record[3], at and math.floor(at) or false
    if record[1] ~= 'granted' then return CONSENT_REVOKED end
  elseif ARGV[14] ~= 'first_use' then
    return CONSENT_MISSING
  end
  local status, plan, own
  if demands then
    local flat = redis.call('HGETALL', KEYS[1])
    for i = 1, #flat, 2 do
      local field = flat[i]
      if field == 'plan' then
        plan = flat[i + 1]
      elseif field == 'status' then
        status = flat[i + 1]
      elseif field ~= 'issuer' and field ~= 'account' and string.sub(field, 1, 6) == 'quota:' then
        own = own or {}
        own[field] = flat[i + 1]
      end
    end
  else
    status, plan = unpack(redis.call('HMGET', KEYS[1], 'status', 'plan'))
  end
  if status and status ~= 'active' then return ACCOUNT_DISABLED end
  if depth == '0' then return ADMITTED, record end
  local terms = ''
  if ARGV[17] == '-1' then
    terms = ARGV[18]
  else
    if not plan or plan == '' then plan = ARGV[15] end
    if plan == '' then return ACCOUNT_UNKNOWN end
    answer[2] = plan
    for i = 18, 16 + 2 * ARGV[17], 2 do
      if ARGV[i] == plan then terms = ARGV[i + 1] end
    end
  end
  if terms == '' then return PLAN_REQUIRED end
  if record and record[3] and ARGV[16] ~= '' then
    local listed = ' ' .. string.gsub(record[3], '%s+', ' ') .. ' '
    for _, granting in ipairs(decoded(ARGV[16])) do
      local found = false
      for _, scope in ipairs(granting) do found = found or string.find(listed, ' ' .. scope .. ' ', 1, true) end
      if not found then return CONSENT_SCOPES end
    end
  end
  return ADMITTED, record, terms, own
end
