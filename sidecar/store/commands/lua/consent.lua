-- The consent that applies to a caller; `admission.effective_consent` is the model.
-- generate MAX_AT_DIGITS
-- Returns the `at` of a record; nil unless it is a plain number of seconds with at most MAX_AT_DIGITS digits.
local function plain_seconds(at)
  local seconds = at and string.find(at, '^%d+%.?%d*$') and at + 0
  return seconds and seconds < 10 ^ MAX_AT_DIGITS and seconds or nil
end

-- Returns a record, {status, at, scopes}; nil without any.
local function record_of(key)
  local found = redis.call('HMGET', key, 'status', 'at', 'scopes', 'client_id')
  return (found[1] or found[2] or found[3] or found[4]) and found or nil
end

-- Returns the consent that applies; nil without any. A revocation for all clients applies to every client without a
-- newer consent, also to one without a record. `others` tells whether one of the other two records exists, if that is
-- known.
local function consent(own_key, every_key, revocation_key, others)
  if others == nil then others = redis.call('EXISTS', every_key, revocation_key) > 0 end
  if not others then return record_of(own_key) end
  -- include consents.lua

  local record, own, every = of_client(own_key, every_key)
  if redis.call('EXISTS', revocation_key) == 0 or record and record[1] ~= 'granted' then return record end
  local all = redis.call('HMGET', revocation_key, 'status', 'at')
  if all[1] == 'granted' then return record end
  local at = written(all)
  if record and (granted_after(own, at) or granted_after(every, at)) then return record end
  return {'revoked', all[2], false}
end
