-- Approval that a call claims; `approval_records.judge` is the model. Needs the call of admission.lua and the codes.
-- include approval.lua
local function is_mine(found, subject, client) return found and found.subject == subject and found.client == client end

local function is_for(found, tool, arguments, rule)
  return found.tool == tool and found.arguments == arguments and found.rule == rule
end

-- Returns the approval from the account page for an identical call: one that was answered, or else the latest.
local function claimed_on_page(list, subject, client, tool, arguments, rule)
  local best
  for _, handle in ipairs(redis.call('ZRANGE', list, 0, -1)) do
    local each = approval_of(list, handle)
    if is_mine(each, subject, client) and each.by == 'page' and each.status ~= 'used'
      and is_for(each, tool, arguments, rule) then
      local answered, before = each.status ~= 'pending', best and best.status ~= 'pending'
      local later = best and (each.used > best.used or each.used == best.used and each.handle > best.handle)
      if not best or answered and not before or answered == before and later then best = each end
    end
  end
  return best
end

-- Returns whether no price is higher than the one shown; `needed` are the amounts of this call.
local function is_covered(found, demands, needed)
  local read, shown = pcall(cjson.decode, found.prices or '')
  if not read or type(shown) ~= 'table' or #shown ~= #needed then return false end
  for i = 1, #needed do
    local price, demand = shown[i], demands[i]
    if type(price) ~= 'table' or price[1] ~= demand[1] or price[2] ~= demand[2] then return false end
    if type(price[3]) ~= 'number' or needed[i] > price[3] then return false end
  end
  return true
end

-- Judge the approval that the call claims. Returns the code that refuses it, or nil, and the approval that is used up.
-- `priced` is the number of its prices in the answer.
local function judge_approval(priced)
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
  for i = 1, priced do needed[i] = answer[2 + 5 * i] end
  if not is_covered(found, demands, needed) then return APPROVAL_NEEDED end
  return nil, found
end
