"""Confirmation of calls by a person: asked through the client, answered there or on the account page.

A call that waits holds its slot among those in flight and its message, and nothing in the store: it is admitted, and
priced again, after its approval. Any sidecar may take the answer; the store tells the one that waits.

Start with `stream_questions`. Imports `store.approval_store`, `protocol.elicitation` and the steps of the pipeline.
"""
