"""Runs of a policy's own tests: which outcome has each call, and which rules has no test reached?

A *case* is one test: a caller, its account, and *steps*, which are calls one after another. A *verdict* is the outcome
of one call at gates 4-7. The account after a step is the pure model's (`ledger`), so that the second call finds what
the first one has used, spent and paid. Nothing here reads a clock, a file or a store.

Start reading with `sequences.py`; `workbench.testing` has the results that commands print. It imports `policy` and
`ledger`.
"""
