#!lua flags=no-writes
-- Check which commands the user of this connection may run. A missing permission would stop a script halfway, so all
-- of them are checked before any script runs.
--
-- KEYS  none
-- ARGV  1... a command with its arguments, JSON
-- Returns for each 1 when the user may run it, else 0, also for a command that the server does not know
local answer = {}
for i = 1, #ARGV do
  local ran, may = pcall(redis.acl_check_cmd, unpack(cjson.decode(ARGV[i])))
  answer[i] = ran and may and 1 or 0
end
return answer
