"""Parties of a token: its issuer or tenant, its account, its subject and its client.

`tenants` finds the settings for the `iss` of a token, `party_names` makes the names that consents, accounts and the
log use. Tenant: one of the issuers that a configured issuer with `{tenantid}` stands for. Start with `party_names`.

Imports `identity.claim_path`, `identity.invalid_token` and what `identity` may import. `identity` imports it.
"""
