"""Tools for authors of policies: is this policy valid, do its tests pass, and why is a call refused?

`load` reads and checks config and policy for `check`, `serve` and reloads. `run_tests` runs the policy's own tests,
`lint` returns *notices* (warnings about valid but unintended rules), and `explain` returns the *steps* of one call
at each gate. A *verdict* is the outcome of gates 4-7 for one call, with the pure ledger instead of the store.

Start reading with `loading.py`, then `testing.py` and `explainer.py`.

It imports `config`, `ledger`, `policy`, `identity`, `store` and the packages below; `runtime` and `cli` import it.
"""
