-- The consent that applies to a caller; `admission.effective_consent` is the model.
-- generate MAX_AT_DIGITS
-- Returns the `at` of a record; nil unless it is a plain number of seconds with at most MAX_AT_DIGITS digits.
local function plain_seconds(at)
  local seconds = at and string.find(at, '^%d+%.?%d*$') and tonumber(at)
  return seconds and seconds < 10 ^ MAX_AT_DIGITS and seconds or nil
end

local function written(record) return plain_seconds(record[2]) end

-- Returns a record, {status, at, scopes}; nil without any.
local function record_of(key)
  local found = redis.call('HMGET', key, 'status', 'at', 'scopes', 'client_id')
  return (found[1] or found[2] or found[3] or found[4]) and found or nil
end

-- Returns the consent of a client, {status, at, scopes}, whatever was revoked for all clients; nil without any; and its
-- two records. A revocation for one subject stands; one for every subject is overridden by a newer consent of that
-- subject.
local function of_client(own_key, every_key)
  local own, every = record_of(own_key), record_of(every_key)
  if not own then return every, own, every end
  if not every or own[1] ~= 'granted' or every[1] == 'granted' then return own, own, every end
  local mine, theirs = written(own), written(every)
  if mine and theirs and mine > theirs then return own, own, every end
  return every, own, every
end

local function granted_after(record, at)
  local mine = record and record[1] == 'granted' and written(record)
  return mine and at and mine > at
end

-- Returns the consent that applies, as `of_client` does. A revocation for all clients applies to every client without
-- a newer consent, also to one without a record.
local function consent(own_key, every_key, revocation_key)
  if redis.call('EXISTS', every_key, revocation_key) == 0 then return record_of(own_key) end
  local record, own, every = of_client(own_key, every_key)
  if redis.call('EXISTS', revocation_key) == 0 or record and record[1] ~= 'granted' then return record end
  local all = redis.call('HMGET', revocation_key, 'status', 'at')
  if all[1] == 'granted' then return record end
  local at = written(all)
  if record and (granted_after(own, at) or granted_after(every, at)) then return record end
  return {'revoked', all[2], false}
end
