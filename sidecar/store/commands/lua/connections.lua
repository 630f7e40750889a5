#!lua flags=no-writes
-- Read consents of one subject: its own records, and those for every subject.
--
-- KEYS  1 the account's list of consents  2 revocation of all clients
-- ARGV  1 subject  2 place in the list to begin with, from 0, the latest first  3 number of places
--       4... further records, `consent:C` or `client:K`
-- Returns {length of the list, revocation as flat pairs, then for each record its name and its flat pairs}
-- include types.lua
local prefix = string.match(KEYS[1], '^(.-}:)')
local function fields_of(key) return has_type(key, 'hash') and redis.call('HGETALL', key) or {} end
local answer = {redis.call('ZCARD', KEYS[1]), fields_of(KEYS[2])}

local function read(name)
  local own, every = string.find(name, '^consent:%x+$'), string.find(name, '^client:%x+$')
  local key = prefix .. name
  if not (own or every) or not has_type(key, 'hash') then return end
  local subject = own and redis.call('HGET', key, 'subject')
  if subject and subject ~= ARGV[1] then return end -- without one, the caller compares the digest
  local fields = redis.call('HGETALL', key)
  if #fields == 0 then return end
  answer[#answer + 1] = name
  answer[#answer + 1] = fields
end

-- The list is by the oldest first: this asks for places from its end.
local first, count = answer[1] - tonumber(ARGV[2]) - tonumber(ARGV[3]), tonumber(ARGV[3])
local last = first + count - 1
if count > 0 and last >= 0 then
  for _, name in ipairs(redis.call('ZRANGE', KEYS[1], math.max(0, first), last)) do read(name) end
end
for i = 4, #ARGV do read(ARGV[i]) end
return answer
