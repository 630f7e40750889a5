"""Accounting of accounts in pure functions: gates 5-7, settlement, receipts and the journal.

Start reading at `accounts` (the state of one account), then `admission` (consent, plan, quotas, credits) and
`settlement` (the effect of each event on a hold). `settlement_table` lists every way in which a call can end;
`receipts` and `admission_refusals` are the results for callers; `windows` has the fixed UTC windows; `decoding` reads
stored records; `journal` verifies an account against its entries.

Vocabulary: a *demand* is an amount that an operation needs; an admission reserves it in a *hold* with a *lease*; the
owner *settles*, *releases* or *defers* the hold; after the lease any script resolves it.

This is the model of the Lua scripts; property tests hold the two equal. Pure: no I/O, no clock. May import `errors`,
`model`, `outcome` and `window_rules`. Imported by `store`, `workbench`, `proxy` and `cli`.
"""
