"""Request path: one MCP request from the listener through the gates to the backend and back.

`authenticate → parse → decide → admit → relay → settle → observe`; each step returns an immutable value
that the next one takes. Start with `pipeline.Pipeline.handle`, then `calls.steps`.

Vocabulary: a *request* is one HTTP request of a client; a *call* is its message; a call *in flight* holds a
slot until its settlement is written; an admitted call has a *settlement*, which is resolved once with the
outcome; an exchange that outlives its client is *detached*; an *open stream* (GET, `subscriptions/listen`)
has no end of its own.

`calls/` holds the values of one call; `listener/` faces clients, `backend/` the MCP server, `relay/` carries
answers from the backend to the client. The package imports `policy`, `identity`, `store` and everything below them.
Only `runtime` and later levels import it.
"""
