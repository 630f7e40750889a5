#!lua flags=allow-oom
-- Settle or release one call, exactly once. `settlement.settle` and `settlement.release` are the model. A repetition
-- gets the first reply; a command without a hold is late and changes nothing, but leaves a tombstone: an admission of
-- the call that arrives later is refused. It may write when memory is short, or holds would stay open; admissions,
-- which create holds, may not.
--
-- KEYS  1 ledger  2 holds  3 leases  4 paid  5 requests  6 usage  7 outcome of this call
--       8 list of approvals: the one that the call has used is given back; absent unless it is released and was not sent
-- ARGV  1 call id  2 settled or released  3 whether it was forwarded (1, 0)  4 ms to remember the outcome
--       5 charges: JSON [units, or [item, ...], or null for the reserve, or false for the reserve without marking any
--       item as paid, ...]; missing ones are null
--       6 with KEYS 8, handle of the approval; '' for a call that claimed any of the account page
-- Returns {late (1, 0), then kind, name, units of each amount}
-- include settlement.lua
return settle()
