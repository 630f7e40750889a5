"""MCP messages as bytes and values: gate 3, the protocol's rules, without I/O.

A body becomes a `Message` (`jsonrpc`), then a `Call` under the revision that it speaks (`revisions`, `headers`).
The backend's answer becomes a `Response` with an `Event` (`results`), in which the receipt is written (`stamping`).
Refusals take the shape that the client acts on (`answers`).

Start with `revisions.call_of`. `strict/` is the JSON reader, `sse/` server-sent events, `tasks/` the tasks of both
revisions, `elicitation/` the sidecar's own questions to a person. Exact: a document whose number literals are
forwarded as they were sent. Plain: the values to judge. Lenient reader: a parser that folds case, width or repeated
keys; ambiguous messages are refused.

Pure. Imports `errors`, `model` and `outcome` only. Every package from `ledger` on may import it.
"""
