"""The demo: an unmodified MCP client, an issuer, a backend and a sidecar, on this machine alone.

A story is a list of steps that each show requests and check the outcome: `steps` (from login to revocation), `scenes`
(the remaining refusals, gate by gate), `crash` (the sidecar killed in a paid call), `records` (log and metrics).
`stage` starts the processes, `client` and `requests` send the requests, `narration` prints and checks them.

Start with `story.main`; run it with `python -m demo`. It is not in the wheel. The demo may import every package of
the sidecar, none of which imports it; tests use its backend.
"""
