"""Drift between a policy and its backend: which tools did the backend add, remove or change?

A *pin* is the digest of a tool's definition at the time when a person approved it. *Missing* tools are declared and not
listed, *undeclared* ones are listed and not declared, *changed* ones differ from their pin.

Start reading with `pins.py`. It imports the rules of `policy`; `proxy`, `workbench` and `cli` import it.
"""
