"""Caller identity: gate 2, the `Caller` of a request from its `Authorization` headers.

A JWT is verified with its issuer's keys (`jwt/`). Any other token is opaque, and its issuer is asked about it
(`opaque/`, RFC 7662). `claims` and `token_kind` have the rules that both kinds share. `issuers` keeps keys and
endpoints across reloads. `step_up` remembers scope challenges, `recent` is the bounded cache under all of these.

Start with `authenticator`. Issuer: a configured authorization server. Digest: the hash by which a token is cached.

Imports `config`, `protocol`, `system` and the vocabulary. The workbench, the proxy and the runtime import it.
"""
