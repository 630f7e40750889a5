-- Journal entry of a consent that a command changes. Needs author.lua.
-- Returns it for one subject ('' every) and a client.
local function consent_entry(event, subject, client, author)
  local entry = {'event', event, 'client', client}
  if subject ~= '' then
    entry[5], entry[6] = 'subject', subject
  end
  return signed(entry, author)
end
