"""Journal of an account: verify that balances, counters and paid items follow from its entries.

Start reading at `entries` (fields of an entry, the stored snapshot, a difference), then `verification` (balances, paid
items, lost holds) and `counters` (quotas and included credits per window).

Old entries are *folded* into a *checkpoint* in the ledger. Earlier versions wrote entries *without windows*; counters
up to the time of the last one cannot be verified.

Pure. May import `ledger.accounts`, `ledger.decoding` and `ledger.windows`. Imported by `store.commands` and `cli`.
"""
