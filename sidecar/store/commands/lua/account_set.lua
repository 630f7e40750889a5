#!lua
-- Change an account's record, and write what has changed to the journal.
--
-- KEYS  1 account  2 ledger  3 usage; without 2 and 3 the journal gets no entry
-- ARGV  1 whether to create it (1, 0)  2 issuer id  3 account  4 number of words that follow as fields
--       5... field, value ...; after those, fields to remove; with KEYS 2 and 3, ARGV 5 is the author (may be ''), 6 the
--       version that the record must have ('' any), and the fields begin at 7
-- Returns command.ChangeCode: 0 changed, or as wanted already; 1 created; 2 unknown or deleted and not to be created;
--       5 the record has another version
-- generate ChangeCode
-- include clock.lua
-- include checked.lua
local LEDGER, USAGE = KEYS[2], KEYS[3]
-- include journal.lua
-- include author.lua
-- include version.lua
local MAX_WORDS = 1000 -- words that fit on Lua's stack at once
local journaled = #KEYS >= 3
local first = journaled and 7 or 5
local count = string.find(ARGV[4] or '', '^%d+$') and tonumber(ARGV[4])
if not count or count % 2 ~= 0 or #ARGV < first - 1 + count or #ARGV > MAX_WORDS then
  return redis.error_reply('ERR account_set.lua accepts as many words as ARGV 4 says, each field with its value, '
    .. 'and 1000 at most')
end
local stored = redis.call('HGETALL', KEYS[1])
local before, wanted = {}, {}
for i = 1, #stored, 2 do before[stored[i]] = stored[i + 1] end
local deleted = before.deleted ~= nil
local known = #stored > 0 and not deleted
local last = first - 1 + count
if deleted then wanted.status = 'active' end -- a status among the fields replaces this one
for i = first, last, 2 do wanted[ARGV[i]] = ARGV[i + 1] end

-- Returns whether the record has the wanted fields already, as after a change with a lost answer.
local function is_done()
  for field, value in pairs(wanted) do
    if before[field] ~= value then return false end
  end
  for i = last + 1, #ARGV do
    if before[ARGV[i]] then return false end
  end
  return known
end

if journaled and ARGV[6] ~= '' and ARGV[6] ~= version_of(stored) then
  return is_done() and DONE or CONFLICT
end
if not known and ARGV[1] ~= '1' then return UNKNOWN end

-- Returns the journal entry; nil when nothing that it names has changed.
local function entry_of()
  local entry = {'event', 'account_set'}
  local function note(field, value)
    entry[#entry + 1] = field
    entry[#entry + 1] = value
  end
  if not known then note('created', '1') end
  for _, field in ipairs({'plan', 'status'}) do
    if wanted[field] and wanted[field] ~= before[field] then
      note(field, wanted[field])
      if before[field] then note('was:' .. field, before[field]) end
    end
  end
  for i = first, last, 2 do
    local limit = string.match(ARGV[i], '^quota:(.*)$')
    if limit and before[ARGV[i]] ~= ARGV[i + 1] then note('limit:' .. limit, ARGV[i + 1]) end
  end
  for i = last + 1, #ARGV do
    local limit = string.match(ARGV[i], '^quota:(.*)$')
    if limit and before[ARGV[i]] then note('limit:' .. limit, 'plan') end
  end
  return #entry > 2 and signed(entry, ARGV[5]) or nil
end

local entry = journaled and entry_of()
local ends = wanted.status and wanted.status ~= 'active'
if entry and not ends then
  redis.call('HLEN', LEDGER) -- of the wrong type it fails here, before the first write
  write_journal({entry})
end
local words = {'issuer', ARGV[2], 'account', ARGV[3]}
if deleted then
  redis.call('HDEL', KEYS[1], 'deleted')
  words[5], words[6] = 'status', 'active' -- a status among the fields comes later and replaces this one
end
for i = first, last do words[#words + 1] = ARGV[i] end
redis.call('HSET', KEYS[1], unpack(words))
if #ARGV > last then redis.call('HDEL', KEYS[1], unpack(ARGV, last + 1)) end
-- `usage --verify` reports a corrupt journal; it must not keep access alive.
if entry and ends then pcall(write_journal, {entry}) end
return known and DONE or CREATED
