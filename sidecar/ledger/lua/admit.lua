#!lua
-- Gates 5-7 in one trip: session and tasks, consent, account, plan, then quotas and credits, which are
-- reserved all or none. `admission.py` is its model. Idempotent on the call id.
--
-- KEYS  1 account  2 consent  3 client  4 session  5 ledger  6 holds  7 leases  8 paid  9 requests
--       10 usage  11 outcome of this call  12... tasks, which must be bound to the subject and client of the
--       consent: their digest ends its key
-- ARGV  1 call id  2 look (1 writes nothing)  3 depth (0 consent, 1 plan, 2 price)  4 lease in ms
--       5 binding the session must have ('' checks none)  6 issuer id  7 account  8 subject  9 client id
--       10 owner  11 on_unknown (settle, release)
--       12 demands: JSON [[kind, name, reserve, fixed, items or null, each], ...]
--       13 consent mode (required, first_use)  14 default plan ('' none)
--       15 scopes: JSON [[scope, scope that implies it, ...], ...] or ''
--       16 digest of session and request id ('' without a session)
--       17 number of plans, or -1 without plans  18... name, terms of each plan; or the base terms:
--       JSON {"allowed": bool, "quotas": {name: {window: limit}}, "credits": {pool: [window, included]}}
-- Returns {code (model.AdmissionCode), plan, consent scopes, consent since, refused demand, held,
--       then per demand: needed, left, limit, window (1 minute ... 4 month), resets in}; nil where unknown
-- include clock.lua
local LEDGER, HOLDS, LEASES, PAID, REQUESTS, USAGE = unpack(KEYS, 5, 10)
-- include ledger.lua
-- include consent.lua

local ADMITTED, SESSION_UNKNOWN, CONSENT_MISSING, CONSENT_REVOKED = 0, 1, 2, 3
local ACCOUNT_UNKNOWN, ACCOUNT_DISABLED, PLAN_REQUIRED, CONSENT_SCOPES = 4, 5, 6, 7
local QUOTA_EXCEEDED, INSUFFICIENT_CREDITS, RESOLVED_ALREADY, REQUEST_IN_FLIGHT = 8, 9, 10, 11
local TASK_UNKNOWN = 12

local call, look, depth = ARGV[1], ARGV[2] == '1', tonumber(ARGV[3])
local demands = cjson.decode(ARGV[12])
local reserves = #demands > 0 and not look
local answer = {ADMITTED, false, false, false, false, 0}

-- The account's record: plan, status, and its own limits by field (nil when it has none).
local function account()
  local flat = redis.call('HGETALL', KEYS[1])
  local plan, status, own
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
  if plan == '' then plan = nil end
  return plan, status == nil or status == 'active', own
end

local function terms_of(plan)
  if ARGV[17] == '-1' then return ARGV[18] end
  for i = 18, 16 + 2 * tonumber(ARGV[17]), 2 do
    if ARGV[i] == plan then return ARGV[i + 1] end
  end
end

local function lists_scopes(scopes)
  local listed = ' ' .. string.gsub(scopes, '%s+', ' ') .. ' '
  for _, granting in ipairs(cjson.decode(ARGV[15])) do
    local found = false
    for _, scope in ipairs(granting) do
      found = found or string.find(listed, ' ' .. scope .. ' ', 1, true)
    end
    if not found then return false end
  end
  return true
end

-- Gates 5 and 6. Returns the code, the terms of the plan, the account's own limits, and whether a
-- consent record exists.
local function standing()
  if ARGV[5] ~= '' and redis.call('HGET', KEYS[4], 'consent') ~= ARGV[5] then return SESSION_UNKNOWN end
  for i = 12, #KEYS do
    if redis.call('HGET', KEYS[i], 'consent') ~= string.sub(KEYS[2], -32) then return TASK_UNKNOWN end
  end
  local record = consent(KEYS[2], KEYS[3])
  if record then
    local at = written(record)
    answer[3], answer[4] = record[3], at and floor(at) or false
    if record[1] ~= 'granted' then return CONSENT_REVOKED end
  elseif ARGV[13] ~= 'first_use' then
    return CONSENT_MISSING
  end
  local plan, active, own = account()
  if not active then return ACCOUNT_DISABLED end
  if depth == 0 then return ADMITTED, nil, nil, record end
  local planned = ARGV[17] ~= '-1'
  if planned then
    if not plan and ARGV[14] ~= '' then plan = ARGV[14] end
    if not plan then return ACCOUNT_UNKNOWN end
    answer[2] = plan
  end
  local raw = terms_of(plan)
  local terms = raw and cjson.decode(raw)
  if not terms or not terms.allowed then return PLAN_REQUIRED end
  if record and record[3] and ARGV[15] ~= '' and not lists_scopes(record[3]) then return CONSENT_SCOPES end
  return ADMITTED, terms, own, record
end

-- The account's own limit as it is stored: nil for none; what is not understood allows nothing.
local function own_limit(value)
  if value == 'unlimited' then return nil end
  return amount_of(value) or 0
end

-- What each demand is limited by: {order of the window, its name, limit}, and for credits {window, included}.
local function bounds(terms, own)
  local all, fields = {}, {}
  for i, demand in ipairs(demands) do
    local kind, name = demand[1], demand[2]
    if kind == 'credit' then
      all[i] = terms.credits[name]
      fields[#fields + 1] = 'balance:' .. name
      if all[i] then fields[#fields + 1] = 'included:' .. name .. ':' .. all[i][1] end
    else
      local planned, list = terms.quotas[name] or {}, {}
      for order, window_name in ipairs(WINDOWS) do
        local limit = planned[window_name]
        local field = 'quota:' .. name .. ':' .. window_name
        if own and own[field] then limit = own_limit(own[field]) end
        if limit then
          list[#list + 1] = {order, window_name, limit}
          fields[#fields + 1] = field
        end
      end
      all[i] = list
    end
  end
  preload(fields)
  return all
end

-- Price one amount of a quota. Of the windows that refuse, the last to end is told: waiting for another
-- would not help; else the one with the least left.
local function price_quota(amount, needed, list)
  local told, told_left
  for _, bound in ipairs(list) do
    local number, used = current('quota:' .. amount.name .. ':' .. bound[2], bound[2])
    local left = math.max(0, bound[3] - used)
    amount.windows[bound[2]] = number
    if needed > left or not told or (needed <= told_left and left <= told_left) then told, told_left = bound, left end
  end
  if not told then return nil, nil, nil, nil end
  local _, rest = window(told[2])
  return told_left, told[3], told[1], rest
end

local function price_credit(amount, needed, grant)
  local balance = units('balance:' .. amount.name)
  if not grant then
    amount.balance = text(needed)
    return balance
  end
  local number, used, rest = current('included:' .. amount.name .. ':' .. grant[1], grant[1])
  local unused = math.max(0, grant[2] - used)
  amount.windows[grant[1]] = number
  amount.balance = text(math.max(0, needed - unused))
  return math.min(MAX, unused + balance), nil, nil, rest
end

local function take(amount, needed)
  local field = 'quota:'
  if amount.kind == 'credit' then
    field = 'included:'
    local taken = tonumber(amount.balance)
    needed = needed - taken
    if taken > 0 then put('balance:' .. amount.name, text(units('balance:' .. amount.name) - taken)) end
  end
  for name, number in pairs(amount.windows) do
    local at = field .. amount.name .. ':' .. name
    count(at, number, (counted(at, number) or 0) + needed)
  end
end

-- Gate 7. Returns the amounts to hold, or nil and the code; the ledger in memory has them taken.
local function price(terms, own, held_already)
  local limits, amounts, refused = bounds(terms, own), {}, nil
  for i, demand in ipairs(demands) do
    local needed, items = demand[3], nil
    if demand[5] ~= cjson.null then
      items = unpaid(demand[1], demand[2], demand[5])
      needed = #items * demand[6]
    end
    local amount = {kind = demand[1], name = demand[2], reserved = text(needed), windows = {}, items = items}
    if demand[4] then amount.fixed = true end
    if items then amount.each = text(demand[6]) end
    local pricing = amount.kind == 'quota' and price_quota or price_credit
    local left, limit, order, rest = pricing(amount, needed, limits[i])
    local at = 2 + 5 * i
    answer[at], answer[at + 1], answer[at + 2] = needed, left or false, limit or false
    answer[at + 3], answer[at + 4] = order or false, rest or false
    if not refused and not held_already and left and needed > left then
      refused = amount.kind == 'quota' and QUOTA_EXCEEDED or INSUFFICIENT_CREDITS
      answer[5] = i - 1
    end
    if not refused then take(amount, needed) end
    amounts[i] = amount
  end
  return refused, amounts
end

-- Whether another call has this request id on this session: its answer could be taken for the other's.
local function in_flight()
  if ARGV[16] == '' then return false end
  local other = redis.call('HGET', REQUESTS, ARGV[16])
  if not other or other == call then return false end
  for _, ended in ipairs(gone) do
    if ended == other then return false end
  end
  return redis.call('HEXISTS', HOLDS, other) == 1
end

-- The hold to be written, with what is noted of its request.
local function hold(amounts)
  local document = {owner = ARGV[10], client = ARGV[9], on_unknown = ARGV[11], amounts = amounts}
  if ARGV[16] ~= '' then
    document.request = ARGV[16]
    begun[#begun + 1] = ARGV[16]
    begun[#begun + 1] = call
  end
  return cjson.encode(document)
end

if reserves and redis.call('EXISTS', KEYS[11]) == 1 then
  answer[1] = RESOLVED_ALREADY
  return answer
end
expire()
local code, terms, own, record = standing()
if code == ADMITTED and reserves and depth == 2 and in_flight() then code = REQUEST_IN_FLIGHT end
local amounts
if code == ADMITTED and depth == 2 then
  local held_already = reserves and redis.call('HEXISTS', HOLDS, call) == 1
  local expired, refused = changed, nil
  changed = {}
  refused, amounts = price(terms, own, held_already)
  code = refused or ADMITTED
  if reserves and not refused then answer[6] = 1 end
  if refused or held_already then
    amounts = nil
  else
    for field, value in pairs(changed) do expired[field] = value end
  end
  changed = expired -- nothing is taken unless everything is
end
answer[1] = code
if look then return answer end
local first_use = code == ADMITTED and not record
if first_use then
  journal[#journal + 1] = {'event', 'consent_granted', 'client', ARGV[9], 'subject', ARGV[8], 'first_use', '1'}
end
local held = code == ADMITTED and amounts and reserves and hold(amounts)
flush() -- first: the journal is what may still refuse
if held then
  redis.call('HSET', HOLDS, call, held)
  redis.call('ZADD', LEASES, text(now_ms + tonumber(ARGV[4])), call)
end
if first_use then
  redis.call('HSET', KEYS[2], 'status', 'granted', 'at', seconds(), 'issuer', ARGV[6], 'account', ARGV[7],
    'subject', ARGV[8], 'client_id', ARGV[9])
end
if ARGV[5] ~= '' and code ~= SESSION_UNKNOWN then redis.call('EXPIRE', KEYS[4], 86400) end
if code ~= SESSION_UNKNOWN and code ~= TASK_UNKNOWN then
  for i = 12, #KEYS do redis.call('EXPIRE', KEYS[i], 86400, 'GT') end -- what has longer to live keeps it
end
return answer
