-- What many calls share, decoded, and the holds of calls in flight. A function of the server keeps it from one call to
-- the next; a script starts without any. It is found by the whole text that it was read from, and never changed.
local MOST_REMEMBERED, LONGEST_REMEMBERED = 1000, 1024 -- documents, and holds; bytes of each
local documents, document_count = {}, 0
local written_holds, hold_count = {}, 0

-- Returns a decoded argument.
local function decoded(json)
  local found = documents[json]
  if not found then
    found = cjson.decode(json)
    if #json <= LONGEST_REMEMBERED then
      if document_count == MOST_REMEMBERED then documents, document_count = {}, 0 end
      documents[json] = found
      document_count = document_count + 1
    end
  end
  return found
end

-- Keep a hold as its text will be decoded, with its amounts as `price` returns them; a long one, which has thousands of
-- items, is decoded again.
local function keep_hold(call, raw, hold, amounts)
  if #raw > LONGEST_REMEMBERED then return end
  if hold_count == MOST_REMEMBERED then written_holds, hold_count = {}, 0 end
  if not written_holds[call] then hold_count = hold_count + 1 end
  written_holds[call] = {raw, hold, amounts}
end

-- Returns a hold that was kept, and its amounts, and forgets them; nil when there is none, or the stored text is another
-- one.
local function kept_hold(call, raw)
  local kept = written_holds[call]
  if not kept then return nil end
  written_holds[call] = nil
  hold_count = hold_count - 1
  if kept[1] == raw then return kept[2], kept[3] end
end
