"""Periodic checks of what a process depends on: its backend, its store, its files and its certificates.

Vocabulary: a *watch* checks one dependency periodically, keeps the reason why it is unavailable, and logs changes;
*drift* is a difference between the tools that the backend lists and those that the policy declares; a *stamp*
identifies a state of the files.

Start with `backend_watch.BackendWatch`. The package builds on `proxy`, `store`, `observe` and `workbench.loading`;
`runtime.app` and the supervisor run the watches as background tasks.
"""
