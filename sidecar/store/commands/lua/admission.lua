-- Admission of a call: gates 5-7, and what it writes. `admission.py` is the model; `admit.lua` has KEYS and ARGV.
-- include account.lua
-- include remembered.lua
-- include expiry.lua
-- generate AdmissionCode

-- The call that is admitted, as `admit` finds it in KEYS and ARGV.
local call, demands, dry_run, depth
local named, claim, bound -- places: the tool's name, the approval's arguments, the last of the session and tasks
local claims -- whether the call claims an approval
local answer
local code, record, terms, own -- of gates 5 and 6
-- include gates.lua
-- include pricing.lua

-- Judge the approval that the call claims, which few calls do: so the functions are not made before. Returns what
-- `judge_approval` returns.
local function judge_claim(priced)
  -- include claimed.lua
  return judge_approval(priced)
end

-- Returns whether another call in flight on the session has this request id: their responses would be ambiguous.
local function in_flight()
  if ARGV[13] == '' then return false end
  local other = redis.call('HGET', REQUESTS, ARGV[13])
  if not other or other == call then return false end
  for _, ended in ipairs(lists.resolved or {}) do
    if ended == other then return false end
  end
  return redis.call('HEXISTS', HOLDS, other) == 1
end

-- Price the call, and judge the approval that it claims. Returns the amounts to hold, nil for none, and the approval.
local function reserve()
  redis.call('XLEN', USAGE) -- a journal of the wrong type fails here, before the first write
  expire()
  if not dry_run and in_flight() then
    code = REQUEST_IN_FLIGHT
    return
  end
  local held_already = not dry_run and redis.call('HEXISTS', HOLDS, call) == 1
  local expired, approval = changed, nil
  changed = {}
  local refused, amounts = price(held_already)
  if claims and not refused and not held_already then refused, approval = judge_claim(#demands) end
  code = refused or ADMITTED
  if not dry_run and not refused then answer[6] = 1 end
  if refused or held_already then
    amounts = nil
  else
    for field, value in pairs(changed) do expired[field] = value end
  end
  changed = expired -- reserve everything or nothing
  return amounts, approval
end

-- Write the hold of the call, after the ledger. The amounts are most of its document, and often those of the call before.
local function write_hold(hold, amounts)
  local document = amounts.document or cjson.encode(amounts.list)
  local raw = string.sub(cjson.encode(hold), 1, -2) .. ',"amounts":' .. document .. '}'
  amounts.document, hold.amounts = document, amounts.list
  redis.call('HSET', HOLDS, call, raw)
  redis.call('ZADD', LEASES, text(now_ms + ARGV[9]), call)
  keep_hold(call, raw, hold, amounts)
end

-- Returns the hold to write, still without its amounts, and notes its request.
local function hold_for_call()
  local request = ARGV[13] ~= '' and ARGV[13] or nil
  if request then
    note('new_requests', request)
    note('new_requests', call)
  end
  return {
    owner = ARGV[7], client = ARGV[4], on_unknown = ARGV[8], request = request,
    tool = ARGV[named] ~= '' and ARGV[named] or nil, subject = ARGV[3] ~= ARGV[2] and ARGV[3] or nil,
  }
end

local function write_first_consent()
  -- include seconds.lua
  -- include consent_list.lua
  redis.call('HSET', KEYS[2], 'status', 'granted', 'at', seconds(), 'issuer', ARGV[1], 'account', ARGV[2],
    'subject', ARGV[3], 'client_id', ARGV[4])
  list_consent(KEYS[2])
end

local function use_approval(approval)
  redis.call('HSET', approval.key, 'status', 'used', 'call', call)
  -- One that was claimed without its handle stays on the list: a release finds it there by its call.
  if ARGV[claim] ~= '' then redis.call('ZREM', KEYS[#KEYS], approval.handle) end
end

-- Run gate 7, and write what the admission changes. `first_use` tells whether it grants the consent, `used` whether a
-- session or task is used.
local function complete(priced, first_use, used)
  open_account(5)
  read_clock()
  local amounts, approval
  if priced then
    amounts, approval = reserve()
  elseif claims then
    code, approval = judge_claim(0)
    code = code or ADMITTED
  end
  answer[1] = code
  if approval then
    local last = 6 + (priced and 5 * #demands or 0)
    answer[last + 1], answer[last + 2] = approval.handle, approval.carried
  end
  if dry_run then return answer end
  first_use = first_use and code == ADMITTED
  if first_use then
    journal[#journal + 1] = {'event', 'consent_granted', 'client', ARGV[4], 'subject', ARGV[3], 'first_use', '1'}
  end
  local hold = amounts and hold_for_call()
  if priced or first_use then flush() end -- first: writing the journal may still fail
  if hold then write_hold(hold, amounts) end
  if first_use then write_first_consent() end
  if approval then use_approval(approval) end
  for i = 12, used and bound or 0 do
    redis.call('EXPIRE', KEYS[i], 86400, 'GT') -- a longer expiry stays
    redis.call('HSET', KEYS[i], 'used', text(now_ms))
  end
  return answer
end

local function admit()
  call, dry_run, depth, demands = ARGV[5], ARGV[10] == '1', ARGV[11], ARGV[6] ~= '' and decoded(ARGV[6])
  named = (ARGV[17] == '-1' and 19) or 18 + 2 * ARGV[17]
  claim = named + 1
  claims = ARGV[claim] ~= nil
  bound = claims and #KEYS - 1 or #KEYS
  answer = {
    ADMITTED, false, false, false, false, 0, -- with room for three demands
    nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil,
  }
  local others
  if (demands or claims) and not dry_run then -- most often, none of the keys that are looked for exists
    others = redis.call('EXISTS', KEYS[11], KEYS[3], KEYS[4]) > 0
    if others and redis.call('EXISTS', KEYS[11]) == 1 then
      answer[1] = RESOLVED_ALREADY
      return answer
    end
  end
  code, record, terms, own = standing(others)
  local priced = code == ADMITTED and depth == '2' and demands
  local first_use = code == ADMITTED and not record and not dry_run
  local is_bound = code ~= SESSION_UNKNOWN and code ~= TASK_UNKNOWN
  local used = not dry_run and is_bound and bound > 11
  claims = claims and code == ADMITTED
  if priced or first_use or used or claims then return complete(priced, first_use, used) end
  answer[1] = code
  return answer
end
