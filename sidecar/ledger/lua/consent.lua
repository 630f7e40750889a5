-- Which consent decides; `admission.effective_consent` is its model.
-- The `at` of a record; nil unless it is a plain number of seconds that some clock may show.
local function plain_seconds(at)
  local seconds = at and string.find(at, '^%d+%.?%d*$') and tonumber(at)
  return seconds and seconds < 1e12 and seconds or nil
end

local function written(record) return plain_seconds(record[2]) end

-- The consent that decides, {status, at, scopes}; nil without any. What was revoked for one subject stays
-- revoked; what was revoked for every subject is cured by a consent of that subject that says it is newer.
local function consent(own_key, every_key)
  local own = redis.call('HMGET', own_key, 'status', 'at', 'scopes', 'client_id')
  local every = redis.call('HMGET', every_key, 'status', 'at', 'scopes', 'client_id')
  local has_own = own[1] or own[2] or own[3] or own[4]
  local has_every = every[1] or every[2] or every[3] or every[4]
  if not has_own then return has_every and every or nil end
  if not has_every or own[1] ~= 'granted' or every[1] == 'granted' then return own end
  local mine, theirs = written(own), written(every)
  if mine and theirs and mine > theirs then return own end
  return every
end
