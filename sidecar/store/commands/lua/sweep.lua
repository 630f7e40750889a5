#!lua flags=allow-oom
-- Resolve expired holds of one account. It frees memory, so it may run when memory is short.
--
-- KEYS  1 ledger  2 holds  3 leases  4 paid  5 requests  6 usage
-- Returns the number of resolved holds; call again while it is not 0
-- include account.lua
-- include expiry.lua
open_account(1)
read_clock()
local count_resolved = expire()
flush()
return count_resolved
