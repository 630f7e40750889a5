"""Listening sockets: opened for one process or for several workers, and accepted from up to a limit.

A *bound address* has its sockets, of which each worker has its own; an *acceptor* accepts connections and pauses when
it is full; a *server* makes a listener's connections and ends them. Start with `acceptors.Listeners`. The package
imports `config`, `observe`, `system` and the listener.
"""
