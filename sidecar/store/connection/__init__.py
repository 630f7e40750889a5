"""Connections to the store: ordered, pipelined, reconnecting, with three kinds of failure.

Start reading at `resp` (one transport, and the errors *unsent*, *unanswered* and *rejected*), then `store_connection`
(one connection that reconnects) and `topology` (`Servers`: a single server, sentinels or a cluster). `sentinel`,
`cluster` and `slots` find the primary of an account; `store_url` and `store_tls` hold location and credentials;
`layout` checks the layout version; `diagnosis` describes failures for operators.

No command that may have run is sent twice. A *redirect* (`MOVED`, `ASK`) or a missing script allows one more sending,
because the server has not run the command.

May import `config`, `observe` and `system`, and nothing else of `store`. Imported by the rest of `store` and by `cli`.
"""
