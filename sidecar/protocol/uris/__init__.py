"""URIs of resources: the ones that every reader resolves alike are accepted, and compared in lenient forms.

A *reading* is a form that a lenient reader gives a URI: decoded, in one case, without a query. A *layer* is one
encoding that a reader may remove.

Start with `uris.fault`, the complete rules; `ordinary` gives the same answers in a few steps for most URIs.

Pure. Imports `protocol.strict` only.
"""
