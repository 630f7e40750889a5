-- Payment of items. Needs ledger.lua.
-- include unpaid.lua
-- Mark items of an amount as paid: those that were delivered, or all of them. Returns their cost and number.
local function pay(amount, delivered)
  local items = amount.items
  if type(delivered) == 'table' then
    local wanted = {}
    for _, item in ipairs(delivered) do wanted[item] = true end
    items = {}
    for _, item in ipairs(amount.items) do
      if wanted[item] then items[#items + 1] = item end
    end
  end
  local fresh = unpaid(amount.kind, amount.name, items)
  for _, item in ipairs(fresh) do
    local member = amount.kind .. ':' .. amount.name .. ':' .. item
    note('paid', member)
    lists.paid[member] = true
  end
  return #fresh * tonumber(amount.each), #fresh
end
