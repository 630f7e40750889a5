"""Small MCP client of the sidecar's own: which tools, resources and prompts does the backend list?

A *conversation* is a few requests to one backend, of 2026-07-28 without a session or of the older revisions with one;
its pages, bytes and seconds are bounded, and it carries no account's identity. The `Lister` asks for the tools of a
running sidecar's backend; `survey` reads everything that `init` and `check --live` compare.

Start reading with `lister.py`; `conversation.py` has the two eras.

It imports `protocol`, `proxy/backend` and the inventory of `workbench`; `runtime` and `cli` import it.
"""
