#!lua flags=no-writes
-- Sum what the clients of one subject have used, over one page of the journal, the latest entries first.
-- `connection_commands.client_usages` reads the reply.
--
-- KEYS  1 usage
-- ARGV  1 subject  2 account  3 where to begin: '+', or '(' and the id of the last entry of the page before
--       4 most entries
-- Returns {id of the last entry, or '' without any, then {client id, id of its latest entry, its tool or '', pool,
--       credits, ...} of each client}
-- include checked.lua
local function text(number) return string.format('%.0f', number) end
local answer, found = {''}, {}
for _, entry in ipairs(redis.call('XREVRANGE', KEYS[1], ARGV[3], '-', 'COUNT', ARGV[4])) do
  answer[1] = entry[1]
  local fields = {}
  for i = 1, #entry[2], 2 do fields[entry[2][i]] = entry[2][i + 1] end
  local client = fields.client
  if client and fields.call and (fields.subject or ARGV[2]) == ARGV[1] then
    local known = found[client]
    if not known then
      known = {client = client, id = entry[1], tool = fields.tool or '', spent = {}}
      found[client] = known
      found[#found + 1] = known
    end
    for name, value in pairs(fields) do
      local pool = string.match(name, '^credit:(.*)$')
      if pool then known.spent[pool] = math.min(MAX, (known.spent[pool] or 0) + (amount_of(value) or 0)) end
    end
  end
end
for i, known in ipairs(found) do
  local words = {known.client, known.id, known.tool}
  for pool, units in pairs(known.spent) do
    words[#words + 1] = pool
    words[#words + 1] = text(units)
  end
  answer[i + 1] = words
end
return answer
