"""Confirmation of calls by a person on the request path: the question, its answer, and the approval of a call.

Start reading at `confirmations`: the step after `admit` for a call that lacks nothing but a confirmation. It returns
the admitted call, or the refusal or question that answers it. `approved_call` gives an approval back when nothing was
sent, and carries it through a backend's own request for input, which `carrying_guard` finds in the backend's answers.

Vocabulary: a call is *unconfirmed* when gates 4 to 7 refuse it for nothing else; a question is *asked* once its pending
approval is in the store.

May import `proxy.calls`, `proxy.relay`, `policy`, `store` and `protocol`. Imported by the steps of the pipeline.
"""
