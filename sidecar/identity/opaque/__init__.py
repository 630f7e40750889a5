"""Opaque access tokens: asking their issuer about them (RFC 7662) and caching the answers.

`introspection` sends one request, `introspection_endpoint` limits and observes all of them, `introspected_claims`
reads an answer, `opaque_tokens` caches verdicts per token, `request_limits` has the queue and the token bucket.
Known token: one that an earlier answer accepted. Start with `opaque_tokens`.

Imports `identity.claims`, `identity.recent` and what `identity` may import. `identity` and the runtime import it.
"""
