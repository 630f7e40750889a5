"""Look at a public URL from outside: can MCP clients find the login, bring a token and keep a stream open?

A *finding* is the result of one check, with a severity and the fix. A *probe* is one bounded request that plays a
client; redirects are reported and never followed. The token is sent to the given URL only, and nothing is registered
without the operator's word.

`rules/` is pure: it turns the answers of probes into findings. `checkup.py` makes the probes in the order of a client;
start there.

It imports `protocol`, `identity` and `proxy/listener`, whose documents it expects; `cli` imports it.
"""
