"""Decisions of gate 4: may this call happen, and what does it cost?

A *policy* declares *operations* (tools, resources, prompts, methods), each with scopes and *amounts*: `uses` takes
quota units, `spends` takes credits. `decide` returns a `Decision` with the *demands* to reserve and the *terms* that
gates 5-7 check; `pricing` turns a result into *charges*. A *confusable* name differs from a declared one in a way
that another parser may ignore.

Start reading with `decide.py`, then `rules.py` (the compiled policy), `lookup.py`, `arguments.py` and `pricing.py`.
`language/` reads and compiles the policy's documents, `expressions/` evaluates prices, `argument_faults/` describes
rejected arguments.

Pure: no I/O, no clock. It may import `errors`, `model`, `outcome`, `config`, `protocol` and `ledger`; `workbench`,
`proxy`, `runtime` and `cli` import it.
"""
