-- Limits that an account has of its own; `accounts.limits` is the model. Needs windows.lua.
-- Returns the limits of a quota, {place of the window, its name, limit}: those of the plan, unless the account has its
-- own; an unreadable one is 0, which allows nothing.
local function own_limits(name, planned)
  local limits, list = {}, {}
  for _, bound in ipairs(planned) do limits[bound[2]] = bound[3] end
  for place, window_name in ipairs(WINDOWS) do
    local value = own['quota:' .. name .. ':' .. window_name]
    local limit = limits[window_name]
    if value == 'unlimited' then
      limit = nil
    elseif value then
      limit = amount_of(value) or 0
    end
    if limit then list[#list + 1] = {place, window_name, limit} end
  end
  return list
end
