-- The consent that applies among several records. Needs consent.lua.
local function written(record) return plain_seconds(record[2]) end

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
