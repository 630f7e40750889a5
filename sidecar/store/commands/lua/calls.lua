#!lua name=mcp_calls_DIGEST
-- Functions of the server for the scripts that most calls run, `admit` and `resolve`: as functions they are made once,
-- not in each run, and keep what they have read (remembered.lua). The name has the digest of this text, so that
-- sidecars of several versions can share a server.
local KEYS, ARGV -- of the call that runs
-- include globals.lua
-- include settlement.lua
-- include admission.lua
-- include thousands.lua

local function entry(run)
  return function(keys, argv)
    if not redis then find_globals() end
    KEYS, ARGV = keys, argv
    return run()
  end
end

register{function_name = 'mcp_admit_DIGEST', callback = entry(admit)}
register{function_name = 'mcp_resolve_DIGEST', callback = entry(settle), flags = {'allow-oom'}}
