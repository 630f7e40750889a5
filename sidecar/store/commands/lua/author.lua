-- Author of a change, as its journal entry names it.
-- Returns the entry with its author; a program that names none leaves the field out.
local function signed(entry, author)
  if author and author ~= '' then
    entry[#entry + 1] = 'by'
    entry[#entry + 1] = string.sub(author, 1, 256)
  end
  return entry
end
