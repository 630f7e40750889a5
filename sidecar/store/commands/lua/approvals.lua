#!lua
-- Read approvals of an account that have not expired: one, or those that are not used yet.
--
-- KEYS  1 list of approvals
-- ARGV  1 handle; '' for all, the latest first
-- Returns for each the handle and the fields and values of its record
-- include clock.lua
-- include approval.lua
local LIST, answer = KEYS[1], {}
local handles = ARGV[1] ~= '' and {ARGV[1]} or redis.call('ZRANGE', LIST, 0, -1)
for i = #handles, 1, -1 do
  local found = approval_of(LIST, handles[i])
  if found and (ARGV[1] ~= '' or found.status ~= 'used') then
    answer[#answer + 1] = handles[i]
    answer[#answer + 1] = redis.call('HGETALL', found.key)
  end
end
return answer
