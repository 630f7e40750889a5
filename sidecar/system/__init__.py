"""Slow and scarce resources of the operating system, used without blocking the event loop.

`threads` runs blocking functions (files, locks, name servers) in a few daemon threads for each purpose, so that none
of them delays a call or the end of the process. `resolver` looks up names and caches the addresses; `dialing` connects
to the first address that answers (RFC 8305). `descriptors` computes the number of connections that this process can
hold. `random_ids` makes the ids of requests and traces, `loop_lag` measures the event loop, and `shared_timers` are
timers of which thousands may wait.

Start with `threads.LimitedThreads`.

Imports nothing of the sidecar. Every package that connects or reads files may import it.
"""
