"""Commands of the store: one Lua script each, its KEYS and ARGV, and the reader of its reply.

Start reading at `command` (`Script`, `Command`), then `keys` (the documented layout), `shipped` (the scripts) and
`scripts` (calls). `changes` has the commands for accounts, consents and balances, `bindings` those for sessions and
tasks, `stream_commands` those for streams. The scripts are in `lua/`; `generated` writes the lists that Python and Lua
share into them. Where the server has them, calls run *functions* that do the same as their scripts (`lua/calls.lua`).

Scripts are idempotent on a call id or operation id, and read everything before their first write. Their model in pure
Python is `sidecar.ledger`. Nothing here opens a connection.

May import `ledger` and, from `connection`, types only. Imported by `store`, `health`, `proxy` and `cli`.
"""
