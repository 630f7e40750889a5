"""Backend side of the proxy: pooled HTTP/1.1 connections to the one MCP server.

Vocabulary: an *outgoing* request is sent at most once, and its `sent` says whether it went out; an *answer*
arrives on a connection and is read by one reader at a time; an `UpstreamError` names the event to settle by and
the code to answer with; *forwarding* builds the headers of both directions.

Start with `pool.BackendPool.send`, then `answer.BackendAnswer`. The package imports `protocol`, `config`,
`system` and `proxy.memory`; it knows neither callers' streams nor prices.
"""
