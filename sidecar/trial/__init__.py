"""Trials on one machine: an OAuth 2.1 authorization server, and a run of the sidecar in front of a server.

`issuer` has the issuer's state and rules, `oauth` its records and keys, `issuer_server` its HTTP endpoints;
`local_requests` keeps pages of other sites away. It signs in a configured person without a login, gives tokens by URL,
and keeps everything in memory. `trial_run` starts a sidecar with such an issuer, `trial_files` writes its config, and
`sample_calls` chooses the calls to try.

Start with `issuer.TrialIssuer`, or with `trial_run`. May import every package but `cli`, which imports it, as the demo
and tests do.
"""
