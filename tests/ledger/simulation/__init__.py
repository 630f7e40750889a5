"""Seeded simulation of the ledger: sidecars, clients, an outside writer and the faults between them.

The scripts are the pure model (`sidecar.ledger.admission`, `settlement`), applied one after the other as a
server does. The sidecars take the steps of `sidecar.store.store`, `sidecar.store.outbox` and `sidecar.proxy.settle`,
`resuming`; each step names the function it mirrors. A scheduler decides which step is next: messages are
late, connections break, sidecars crash between any two steps, the store restarts or fails over, leases and
windows end. After every script `books.Books`, which reckons for itself, says whether the account is right.

    python -m tests.ledger.simulation --seeds 100000      # many
    python -m tests.ledger.simulation --seed 17 --trace   # one, step by step
"""
