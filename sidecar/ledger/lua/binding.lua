#!lua
-- Bind sessions or tasks to their caller, look which of them are the caller's (those live on), or end them.
-- None is ever taken from its caller: nothing is bound when one of them is another's.
--
-- KEYS  1... sessions or tasks
-- ARGV  1 bind, touch or end  2 digest of subject and client id  3 subject  4 client id
--       5 seconds they live without being used; what has longer to live keeps it
-- Returns per key 1 when it is the caller's, else 0
-- include clock.lua
local mine, others = {}, false
for i, key in ipairs(KEYS) do
  local bound = redis.call('HGET', key, 'consent')
  mine[i] = bound == ARGV[2] and 1 or 0
  others = others or (bound and mine[i] == 0)
end
if ARGV[1] == 'bind' then
  if others then return mine end
  for i, key in ipairs(KEYS) do
    redis.call('HSET', key, 'consent', ARGV[2], 'subject', ARGV[3], 'client_id', ARGV[4], 'at', seconds())
    if mine[i] == 0 then redis.call('EXPIRE', key, ARGV[5]) end
    mine[i] = 1
  end
end
for i, key in ipairs(KEYS) do
  if mine[i] == 1 and ARGV[1] == 'end' then
    redis.call('DEL', key)
  elseif mine[i] == 1 then
    redis.call('EXPIRE', key, ARGV[5], 'GT')
  end
end
return mine
