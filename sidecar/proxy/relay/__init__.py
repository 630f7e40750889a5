"""Relay of the backend's answers to clients: read, judged, settled, then passed on.

Vocabulary: a *relay* carries the answer to one call, a *listening* relay an open stream; *listings* filter lists
by the policy; the *task guard* drops messages about tasks of other callers; a *deferred* call is settled when its
response passes on a *resumed* stream; a *revocation* ends the open streams of a caller.

Start with `relay.Relay.run`, then `listening.Listening`. The package imports `proxy.backend` and
`proxy.listener` for both ends of a relay, and `proxy.settle`; the pipeline builds relays in `proxy.forward`.
"""
