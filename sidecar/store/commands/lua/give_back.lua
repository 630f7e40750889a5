-- Give back the approval that a call has used, of which nothing was sent. `approval_records.give_back` is the model.
-- Needs approval.lua.
-- generate APPROVAL_LIFE
-- `handle` names it; '' stands for one of the list. One that has expired stays used.
local function give_back(list, handle, call)
  for _, each in ipairs(handle ~= '' and {handle} or redis.call('ZRANGE', list, 0, -1)) do
    local found = approval_of(list, each)
    if found and found.status == 'used' and found.call == call then
      redis.call('ZADD', list, text(now_ms), each)
      redis.call('EXPIRE', list, APPROVAL_LIFE / 1000 + 60) -- it may have been empty, and so gone
      redis.call('HDEL', found.key, 'call')
      redis.call('HSET', found.key, 'status', 'accepted', 'used', text(now_ms))
      return
    end
  end
end
