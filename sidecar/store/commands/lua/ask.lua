#!lua
-- Ask for the approval of a call, or keep one for the next round of a call. `approval_records.ask` is the model. A
-- question for the account page that is pending for an identical call is returned instead. A full account loses the
-- approval that was not used for longest. Those of the account page that are used up stay on the list, at most
-- MAX_PENDING: a call that was not sent gives its approval back.
--
-- KEYS  1 list of approvals
-- ARGV  1 handle  2... field and value of the record: issuer account subject client_id tool title message arguments
--       rule by status prices, and carried if a state of the backend is kept
-- Returns {handle, end in ms since the epoch}
-- include clock.lua
-- include approval.lua
-- generate APPROVAL_LIFE
-- generate MAX_PENDING
local LIST = KEYS[1]
local fields = {}
for i = 2, #ARGV, 2 do fields[ARGV[i]] = ARGV[i + 1] end

local kept, used, same = {}, {}, nil
local reuses = fields.by == 'page' and fields.status == 'pending'
for _, handle in ipairs(redis.call('ZRANGE', LIST, 0, -1)) do -- the least recently used first
  local each = approval_of(LIST, handle)
  if not each then
    redis.call('ZREM', LIST, handle)
    redis.call('DEL', approval_key(LIST, handle))
  elseif each.status == 'used' then
    used[#used + 1] = handle
  else
    kept[#kept + 1] = each
    if reuses and each.status == 'pending' and each.by == 'page' and each.subject == fields.subject
      and each.client == fields.client_id and each.tool == fields.tool and each.arguments == fields.arguments
      and each.rule == fields.rule and each.prices == fields.prices then
      same = each
    end
  end
end
for i = 1, #used - MAX_PENDING do redis.call('ZREM', LIST, used[i]) end
if same then
  redis.call('ZADD', LIST, text(now_ms), same.handle)
  redis.call('HSET', same.key, 'used', text(now_ms))
  return {same.handle, redis.call('HGET', same.key, 'expires')}
end
for i = 1, #kept - MAX_PENDING + 1 do
  redis.call('ZREM', LIST, kept[i].handle)
  redis.call('DEL', kept[i].key)
end
local key, ends = approval_key(LIST, ARGV[1]), text(now_ms + APPROVAL_LIFE)
redis.call('DEL', key)
redis.call('HSET', key, 'used', text(now_ms), 'expires', ends, unpack(ARGV, 2))
redis.call('EXPIRE', key, APPROVAL_LIFE / 1000 + 60)
redis.call('ZADD', LIST, text(now_ms), ARGV[1])
redis.call('EXPIRE', LIST, APPROVAL_LIFE / 1000 + 60)
return {ARGV[1], ends}
