"""Several worker processes on one port, under a supervisor.

Vocabulary: the *supervisor* is the process that the operator starts; it owns the admin listener, signals, reloads and
the embedded store, and serves no call. A *worker* serves calls on sockets that the supervisor keeps open for it and its
replacements. A *slot* is the place of one worker. A *channel* connects both processes; when it ends, the worker drains
and ends. A worker *covers* a slot while it accepts on the sockets of a worker that is dead or silent.

Start with `supervisor.Supervisor`, then `worker_slot.WorkerSlot`; `worker_process` is the other side. The package uses
the modules of `runtime`; only `runtime.process` imports it.
"""
