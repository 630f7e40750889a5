"""Access tokens that are JWTs: fetching an issuer's keys, choosing one, checking the claims.

`discovery` fetches a key set, `issuer_keys` keeps it fresh, `key_set` selects the keys that may verify tokens,
`jwt_claims` reads the token and checks it against the config, `expired_tokens` finds the scopes of an expired one.
Start with `issuer_keys`.

Imports `identity.claims`, `identity.recent` and what `identity` may import. `identity`, the runtime and `explain`
import it.
"""
