"""Observation: the log line and the numbers of each request, and everything else that is logged or counted.

`record` observes an exchange once, at its end: gates never log or count. `logs` formats lines, `writer` writes them in
a thread, so that no call waits for standard output. `repeats` limits repeated events, `redact` removes credentials
from free text. `families` holds every metric with its help text, `metrics` counts, `plain_metrics` are those of calls,
`series` says what starts at 0.

Exchange: one request with all that is known of it. Event: a log line that is no call. Start with `record.Recorder`.

Imports the vocabulary only. The store, the proxy and the runtime import it.
"""
