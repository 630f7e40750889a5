"""Dependencies of one process, as `/readyz` checks them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sidecar.config.settings.settings import IssuerSettings
from sidecar.identity.issuers import IssuerRegistry
from sidecar.identity.jwt.discovery import bare
from sidecar.runtime.readiness import Check
from sidecar.runtime.watches.backend_watch import BackendWatch
from sidecar.runtime.watches.store_watch import StoreWatch


class Dependencies:
    """Policy, store, keys and backend of a process.

    Args:
        issuers: returns the configured issuers.
        registry: has their keys.
        store: the watch of the store.
        backend: the watch of the backend.
    """

    def __init__(
        self,
        issuers: Callable[[], Iterable[IssuerSettings]],
        registry: IssuerRegistry,
        store: StoreWatch,
        backend: BackendWatch,
    ) -> None:
        self._issuers = issuers
        self._registry = registry
        self._store = store
        self._backend = backend

    def checks(self) -> list[Check]:
        """Return each check in its current state; a process without a policy does not run."""
        reasons = [(issuer, self._registry.unavailable_reason(issuer)) for issuer in self._issuers()]
        unavailable = "; ".join(f"{issuer.id}: {reason}{_endpoint(issuer)}" for issuer, reason in reasons)
        return [
            Check("policy", None),
            Check("store", self._store.unavailable_reason),
            Check("keys", None if any(reason is None for _, reason in reasons) else unavailable),
            Check("backend", self._backend.problem, required=not self._backend.started),
        ]


def _endpoint(issuer: IssuerSettings) -> str:
    """Return the introspection endpoint in brackets; the problem of a key set names its URL itself."""
    return "" if issuer.introspection is None else f" ({bare(issuer.introspection.url)})"
