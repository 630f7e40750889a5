-- Returns whether a member of a stored document is a list of texts.
local function texts(value)
  if type(value) ~= 'table' or (#value == 0 and next(value) ~= nil) then return false end
  for _, each in ipairs(value) do
    if type(each) ~= 'string' then return false end
  end
  return true
end
