"""The way to an issuer: proxies of the environment, authorities of its certificates, and its failures in words.

`proxies` chooses the proxy of a URL, `issuer_client` sends the requests for keys, metadata and introspection.
Requests to the backend never pass here, so that the environment's proxies do not apply to them. Start with
`issuer_client`.

Imports `config` and `system`. `identity.jwt` and `identity.opaque` import it.
"""
