"""Store on Valkey or Redis: admit calls, and deliver their settlements exactly once.

Start reading at `store`, the only interface of the pipeline: it asks, and its `outbox` retries settles, releases and
other writes until they are acknowledged. `stream_key` shares one secret among all sidecars on a store;
`revocation_times` measures how soon revocations take effect. The folders:

- `commands`: the Lua scripts, and the commands and replies in Python.
- `connection`: ordered connections to a server, sentinels or a cluster.
- `health`: permissions, durability and corrupt records.
- `embedded`: the private server of `store.url: embedded`.

Vocabulary: an *admission* reserves units in a *hold* with a *lease*; a *settle* charges the hold, a *release* returns
it; a command is *pending* until it is *acknowledged*. A failed command is *unsent*, *unanswered* or *rejected*.

May import `ledger`, `config`, `observe` and `system`. Imported by `proxy`, `workbench`, `runtime` and `cli`.
"""
