"""Running process: start, watch, reload and stop a sidecar.

Vocabulary: a *snapshot* holds settings and policy in force; a *reload* builds a new one and puts it in force with
one assignment; a *watch* checks something periodically (files, certificates, backend); a *background* task is
restarted after a fault; a *readiness check* says whether a dependency is available; a *sweep* resolves the
holds of processes that died.

Start with `app.Sidecar`, then `request_path.RequestPath` and `reload.Reloader`; `shutdown` has the end. The package
builds everything from `proxy`, `store`, `identity`, `observe` and `workbench.loading`; only `cli` and `__main__`
import it.
"""
