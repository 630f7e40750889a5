"""Comparison of a policy with the backend that is running now: which rules name something that does not exist?

`compare` returns *findings*, each with the `file:line` of its rule. A *path* is a chain of names and elements that an
expression reads; a schema *has* it when some value of the schema can have it.

Start reading with `live_check.py`. It imports `policy` and the inventory of `scaffolding`; `cli` imports it.
"""
