#!lua
-- Gates 5-7 in one round trip: session and tasks, consent, account, plan, then quotas and credits, which are reserved
-- all or none. `admission.py` is the model. Idempotent on the call id. A call without a price reads neither clock nor
-- ledger.
--
-- KEYS  1 account  2 consent  3 client  4 revocation of all clients  5 ledger  6 holds  7 leases  8 paid
--       9 requests  10 usage  11 outcome of this call  12... session and tasks, which must be bound to the
--       subject and client of the consent; its digest ends the consent's key; with an approval, its list is the last
-- ARGV  1 issuer id  2 account  3 subject  4 client id  5 call id
--       6 demands: JSON [[kind, name, reserve, fixed, items or null, each, shadow], ...], of which the last may be
--       missing, or '' (a demand in shadow mode is counted and refuses nothing)
--       7 owner  8 on_unknown (settle, release)  9 lease in ms  10 dry run (1 writes nothing)
--       11 depth (0 consent, 1 plan, 2 price)  12 whether KEYS 12 is a session (1, 0)
--       13 digest of session and request id ('' without a session)
--       14 consent mode (required, first_use)  15 default plan ('' none)
--       16 scopes: JSON [[scope, scope that implies it, ...], ...] or ''
--       17 number of plans, or -1 without plans  18... name, terms of each plan; or the base terms: '' when the
--       operation is not included, or JSON {"quotas": {name: [[place of the window in WINDOWS from 1, window, limit],
--       ...]}, "credits": {pool: [window, included]}}; then the name of the tool, '' for other operations;
--       then, with an approval: its handle ('' any of the account page), tool, digest of the arguments, digest of the
--       rule, whether the call has the person's acceptance (1, 0)
-- Returns {code (model.AdmissionCode), plan, consent scopes, consent since, refused demand, held,
--       then per demand: needed, left, limit, window (its place in WINDOWS, from 1), resets in,
--       then the handle of the approval that was used up, and the state that it has kept}; nil where unknown
-- include consent.lua
-- generate AdmissionCode
local demands = ARGV[6] ~= '' and cjson.decode(ARGV[6])
local call, dry_run, depth = ARGV[5], ARGV[10] == '1', ARGV[11]
local reserves = demands and not dry_run
local named = (ARGV[17] == '-1' and 19) or 18 + 2 * ARGV[17] -- place of the tool's name
local claim = named + 1 -- place of the approval's arguments
local claims = ARGV[claim] ~= nil
local bound = claims and #KEYS - 1 or #KEYS -- last of the session and tasks
local answer = {
  ADMITTED, false, false, false, false, 0, -- with room for three demands
  nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil,
}

-- Gates 5 and 6. Returns the code, the consent record if there is one, the terms of the plan (JSON), and the account's
-- own limits by field (nil when it has none).
local function standing()
  for i = 12, bound do
    if redis.call('HGET', KEYS[i], 'consent') ~= string.sub(KEYS[2], -32) then
      return i == 12 and ARGV[12] == '1' and SESSION_UNKNOWN or TASK_UNKNOWN
    end
  end
  local record = consent(KEYS[2], KEYS[3], KEYS[4])
  if record then
    local at = plain_seconds(record[2])
    answer[3], answer[4] = record[3], at and math.floor(at) or false
    if record[1] ~= 'granted' then return CONSENT_REVOKED end
  elseif ARGV[14] ~= 'first_use' then
    return CONSENT_MISSING
  end
  local status, plan, own
  if demands then
    local flat = redis.call('HGETALL', KEYS[1])
    for i = 1, #flat, 2 do
      local field = flat[i]
      if field == 'plan' then
        plan = flat[i + 1]
      elseif field == 'status' then
        status = flat[i + 1]
      elseif string.sub(field, 1, 6) == 'quota:' then
        own = own or {}
        own[field] = flat[i + 1]
      end
    end
  else
    status, plan = unpack(redis.call('HMGET', KEYS[1], 'status', 'plan'))
  end
  if status and status ~= 'active' then return ACCOUNT_DISABLED end
  if depth == '0' then return ADMITTED, record end
  local terms = ''
  if ARGV[17] == '-1' then
    terms = ARGV[18]
  else
    if not plan or plan == '' then plan = ARGV[15] end
    if plan == '' then return ACCOUNT_UNKNOWN end
    answer[2] = plan
    for i = 18, 16 + 2 * tonumber(ARGV[17]), 2 do
      if ARGV[i] == plan then terms = ARGV[i + 1] end
    end
  end
  if terms == '' then return PLAN_REQUIRED end
  if record and record[3] and ARGV[16] ~= '' then
    local listed = ' ' .. string.gsub(record[3], '%s+', ' ') .. ' '
    for _, granting in ipairs(cjson.decode(ARGV[16])) do
      local found = false
      for _, scope in ipairs(granting) do found = found or string.find(listed, ' ' .. scope .. ' ', 1, true) end
      if not found then return CONSENT_SCOPES end
    end
  end
  return ADMITTED, record, terms, own
end

if (reserves or claims and not dry_run) and redis.call('EXISTS', KEYS[11]) == 1 then
  answer[1] = RESOLVED_ALREADY
  return answer
end
local code, record, terms, own = standing()
local priced = code == ADMITTED and depth == '2' and demands
local first_use = code == ADMITTED and not record and not dry_run
local is_bound = code ~= SESSION_UNKNOWN and code ~= TASK_UNKNOWN
local used = not dry_run and is_bound and bound > 11
claims = claims and code == ADMITTED
if not (priced or first_use or used or claims) then
  answer[1] = code
  return answer
end

-- include clock.lua
local LEDGER, HOLDS, LEASES, PAID, REQUESTS, USAGE = unpack(KEYS, 5, 10)
-- include ledger.lua
-- include current.lua
-- include expiry.lua

-- Returns the limits of each demand: of a quota {place of the window, its name, limit} for each window, as the account
-- has its own or else the plan; of credits {window, included} or nil. Reads the fields of the ledger that they need.
local function bounds()
  local granted, limits = cjson.decode(terms), {nil, nil, nil}
  local fields, last = {nil, nil, nil, nil, nil, nil, nil, nil}, 0
  for i = 1, #demands do
    local name, list = demands[i][2], nil
    if demands[i][1] == 'credit' then
      list = granted.credits[name]
      fields[last + 1] = 'balance:' .. name
      last = last + 1
      if list then
        last = last + 1
        fields[last] = 'included:' .. name .. ':' .. list[1]
      end
    else
      list = granted.quotas[name] or {}
      if own then
        -- include own_limits.lua
        list = own_limits(name, list)
      end
      for j = 1, #list do fields[last + j] = 'quota:' .. name .. ':' .. list[j][2] end
      last = last + #list
    end
    limits[i] = list
  end
  preload(fields)
  return limits
end

-- Counters that a demand uses, three words each: field, number of the window, units used.
local uses, used_words = {nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil}, 0

-- Read the counter of a window for an amount. Returns the units used, and the seconds until the window ends.
local function use(amount, field, window_name)
  local number, units_used, rest = current(field, window_name)
  amount.windows[window_name] = number
  uses[used_words + 1], uses[used_words + 2], uses[used_words + 3] = field, number, units_used
  used_words = used_words + 3
  return units_used, rest
end

-- Price one amount of a quota. Returns the units left, the limit, the place of its window, and the seconds until that
-- ends. Of the windows that refuse, report the last to end: waiting for an earlier one would not help; otherwise report
-- the one with the least left.
local function price_quota(amount, needed, list)
  local tightest, tightest_left, tightest_rest
  for i = 1, #list do
    local bound = list[i]
    local units_used, rest = use(amount, 'quota:' .. amount.name .. ':' .. bound[2], bound[2])
    local left = math.max(0, bound[3] - units_used)
    if needed > left or not tightest or (needed <= tightest_left and left <= tightest_left) then
      tightest, tightest_left, tightest_rest = bound, left, rest
    end
  end
  if tightest then return tightest_left, tightest[3], tightest[1], tightest_rest end
end

-- Price one amount of credits. Returns the units left, and the seconds until its window ends.
local function price_credit(amount, needed, grant)
  local balance = units('balance:' .. amount.name)
  if not grant then
    amount.balance = amount.reserved
    return balance
  end
  local units_used, rest = use(amount, 'included:' .. amount.name .. ':' .. grant[1], grant[1])
  local unused = math.max(0, grant[2] - units_used)
  amount.balance = text(math.max(0, needed - unused))
  return math.min(MAX, unused + balance), nil, nil, rest
end

-- Gate 7. Returns the refusing code or nil, and the amounts to hold; the ledger in memory has them reserved.
local function price(held_already)
  local limits, amounts, refused = bounds(), {nil, nil, nil}, nil
  for i = 1, #demands do
    local demand = demands[i]
    local kind, name, needed, items = demand[1], demand[2], demand[3], nil
    if demand[5] and demand[5] ~= cjson.null then
      -- include unpaid.lua
      items = unpaid(kind, name, demand[5])
      needed = #items * demand[6]
    end
    local amount = {kind = kind, name = name, reserved = text(needed), windows = {}, items = items}
    if demand[4] then amount.fixed = true end
    if items then amount.each = text(demand[6]) end
    used_words = 0
    local left, limit, place, rest = (kind == 'quota' and price_quota or price_credit)(amount, needed, limits[i])
    local at = 2 + 5 * i
    answer[at], answer[at + 1], answer[at + 2] = needed, left or false, limit or false
    answer[at + 3], answer[at + 4] = place or false, rest or false
    if not refused and not held_already and not demand[7] and left and needed > left then
      refused = kind == 'quota' and QUOTA_EXCEEDED or INSUFFICIENT_CREDITS
      answer[5] = i - 1
    end
    if not refused then
      local counts, taken = needed, kind == 'credit' and tonumber(amount.balance) or 0
      if taken > 0 then put('balance:' .. name, text(units('balance:' .. name) - taken)) end
      counts = counts - taken
      for j = 1, used_words, 3 do
        -- A quota in shadow mode has no limit.
        put(uses[j], uses[j + 1] .. ':' .. text(math.min(MAX, uses[j + 2] + counts)))
      end
    end
    amounts[i] = amount
  end
  return refused, amounts
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

-- Returns the hold to write, and notes its request.
local function hold(amounts)
  local request = ARGV[13] ~= '' and ARGV[13] or nil
  if request then
    note('new_requests', request)
    note('new_requests', call)
  end
  return cjson.encode({
    owner = ARGV[7], client = ARGV[4], on_unknown = ARGV[8], amounts = amounts, request = request,
    tool = ARGV[named] ~= '' and ARGV[named] or nil, subject = ARGV[3] ~= ARGV[2] and ARGV[3] or nil,
  })
end

-- Judge the approval that a call claims. Returns the code that refuses it, or nil, and the approval that is used up.
local judge_approval
if claims then
  -- include approval.lua
  -- include claimed.lua

  judge_approval = function()
    local list, handle, tool, arguments, rule, accepted = KEYS[#KEYS], unpack(ARGV, claim, claim + 4)
    local found
    if handle == '' then
      found = claimed_on_page(list, ARGV[3], ARGV[4], tool, arguments, rule)
      if not found then return APPROVAL_NEEDED end
    else
      found = approval_of(list, handle)
      if not is_mine(found, ARGV[3], ARGV[4]) or found.status == 'used' and found.call ~= call then
        return APPROVAL_UNKNOWN
      end
    end
    if found.status == 'declined' then return APPROVAL_DECLINED end
    if not is_for(found, tool, arguments, rule) then return APPROVAL_NEEDED end
    local by_form = found.status == 'pending' and accepted == '1' and found.by == 'person'
    if not by_form and found.status ~= 'accepted' and found.status ~= 'used' then return APPROVAL_NEEDED end
    local needed = {}
    for i = 1, priced and #demands or 0 do needed[i] = answer[2 + 5 * i] end
    if not is_covered(found, demands, needed) then return APPROVAL_NEEDED end
    return nil, found
  end
end

local amounts, approval
if priced then
  redis.call('XLEN', USAGE) -- a journal of the wrong type fails here, before the first write
  expire()
  if reserves and in_flight() then
    code = REQUEST_IN_FLIGHT
  else
    local held_already = reserves and redis.call('HEXISTS', HOLDS, call) == 1
    local expired, refused = changed, nil
    changed = {}
    refused, amounts = price(held_already)
    if claims and not refused and not held_already then refused, approval = judge_approval() end
    code = refused or ADMITTED
    if reserves and not refused then answer[6] = 1 end
    if refused or held_already then
      amounts = nil
    else
      for field, value in pairs(changed) do expired[field] = value end
    end
    changed = expired -- reserve everything or nothing
  end
end
if claims and not priced then
  code, approval = judge_approval()
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
local held = amounts and hold(amounts)
if priced or first_use then flush() end -- first: writing the journal may still fail
if held then
  redis.call('HSET', HOLDS, call, held)
  redis.call('ZADD', LEASES, text(now_ms + tonumber(ARGV[9])), call)
end
if first_use then
  -- include seconds.lua
  -- include consent_list.lua
  redis.call('HSET', KEYS[2], 'status', 'granted', 'at', seconds(), 'issuer', ARGV[1], 'account', ARGV[2],
    'subject', ARGV[3], 'client_id', ARGV[4])
  list_consent(KEYS[2])
end
if approval then
  redis.call('HSET', approval.key, 'status', 'used', 'call', call)
  -- One that was claimed without its handle stays on the list: a release finds it there by its call.
  if ARGV[claim] ~= '' then redis.call('ZREM', KEYS[#KEYS], approval.handle) end
end
for i = 12, used and bound or 0 do
  redis.call('EXPIRE', KEYS[i], 86400, 'GT') -- a longer expiry stays
  redis.call('HSET', KEYS[i], 'used', text(now_ms))
end
return answer
