#!lua flags=no-writes
-- Which commands the user of this connection may run: a permission that is missing in the middle of a
-- script would leave it half done, so all are looked at before any script is run.
--
-- KEYS  none
-- ARGV  1... a command with arguments as it is used, JSON
-- Returns for each 1 when it may be run, else 0; a server that does not know the command says 0, too
local answer = {}
for i = 1, #ARGV do
  local ran, may = pcall(redis.acl_check_cmd, unpack(cjson.decode(ARGV[i])))
  answer[i] = ran and may and 1 or 0
end
return answer
