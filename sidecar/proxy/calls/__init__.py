"""Values and state of one call on its way through the pipeline.

Vocabulary: `steps` holds the values that the steps up to the decision return, and `early_gates` the steps that wait
for nothing; a *cancellation* is the state that a call in flight shares with the message that cancels it; a *hold
lease* is the time for which a hold is certainly this process's own; the *call price* is the price of the call by its
result.

Start with `steps`. The package imports `proxy.backend`, `proxy.listener` and `proxy.snapshot`; the steps of the
pipeline import it.
"""
