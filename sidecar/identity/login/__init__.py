"""Login of a person at a configured issuer: endpoints, code exchange, ID token, and the names that they give.

*Holder*: the person of a verified ID token, with the account and the subject that an access token of the same person
would name. *Login fault*: the reason for which there is none, with a text for the operator.

Start reading with `holders.py`; `login_endpoints.py` sends the requests, `id_tokens.py` checks the token.

Imports `identity.jwt`, `identity.egress`, `identity.parties`, `identity.opaque.request_limits` and what `identity` may
import. `account_page` imports it.
"""
