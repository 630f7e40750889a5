"""Client side of the proxy: sockets, the HTTP server, gate 1, and the reply to a client.

Vocabulary: an *acceptor* accepts connections up to a limit; the *request filter* is gate 1 (path, Host, Origin,
method, framing); a *document* needs no token (resource metadata, preflights); a *reply* is a whole answer or a
stream, and drops all writes after its client has disconnected.

Start with `request_filter.RequestFilter`, then `reply.ClientReply`. The package imports `protocol`, `config`,
`observe` and `proxy.memory`; it knows nothing of backends.
"""
