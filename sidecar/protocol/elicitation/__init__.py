"""Questions to a person through their client (client/elicitation), by which the sidecar has a call confirmed.

Form mode: the client shows a message and returns accept, decline or cancel. URL mode (since 2025-11-25): the client
opens a page, and the answer comes from there. Sessions are sent `elicitation/create` on the call's own stream; in
2026-07-28 the question is a member of an `input_required` result.

Start with `elicitation`. Pure. Imports `errors`, `model` and the rest of the protocol. Policy and proxy import it.
"""
