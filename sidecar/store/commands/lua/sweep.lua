#!lua flags=allow-oom
-- Resolve holds of one account whose owner let the lease run out. It frees memory, so it may run when
-- memory is short.
--
-- KEYS  1 ledger  2 holds  3 leases  4 paid  5 requests  6 usage
-- Returns how many were resolved; call again while it is not 0
-- include clock.lua
local LEDGER, HOLDS, LEASES, PAID, REQUESTS, USAGE = unpack(KEYS)
-- include ledger.lua
local resolved = expire()
flush()
return resolved
