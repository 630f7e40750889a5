"""Why the store cannot be used, for the operator: what happened, and what to look at. No secret is in it."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Final

from sidecar.config.certificates import tls_words
from sidecar.ledger.wire import RejectedError, StoreError, UnsentError
from sidecar.observe.logs import fault_place

# Some servers say a whole paragraph; others say less than one needs.
_MEANINGS: Final = {
    "WRONGPASS": "WRONGPASS: user or password in store.url is wrong, or the user is disabled",
    "NOAUTH": "NOAUTH: the server wants a password, and store.url has none",
    "DENIED": "DENIED: the server is in protected mode: it takes no connections from other machines",
}
_ASK: Final = "; does it speak TLS on this port?"
_NOT_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNEXPECTED_EOF_WHILE_READING"})


def explain(fault: BaseException, *, tls: bool = False) -> str:
    """One sentence about an attempt to connect that failed.

    Args:
        fault: what it failed with.
        tls: whether TLS was tried: servers that expect something else may just wait for more.
    """
    if isinstance(fault, RejectedError):
        return _rejected(fault)
    if isinstance(fault, ssl.SSLError):
        return f"the store cannot be trusted: {tls_words(fault)}" + (_ASK if fault.reason in _NOT_TLS else "")
    if not isinstance(fault, OSError | StoreError):
        return fault_place(fault)
    return str(fault) or "the store did not answer in time" + (_ASK if tls else "")


def refuses(fault: BaseException | None) -> bool:
    """Whether the server is there and cannot be used, so that waiting for it would not help."""
    if isinstance(fault, RejectedError):
        return fault.code not in {"LOADING", "BUSY", "MASTERDOWN", "CLUSTERDOWN"}
    return isinstance(fault, ssl.SSLError) or type(fault) is StoreError


def together(what: str, faults: Mapping[str, BaseException], *, tls: bool = False) -> StoreError:
    """Why none of several servers helps: `UnsentError`, unless one of them is there and cannot be used.

    Args:
        what: cannot be done.
        faults: what asking each of them failed with, by what to call it.
        tls: as for `explain`.
    """
    reasons = "; ".join(f"{name}: {explain(fault, tls=tls)}" for name, fault in faults.items())
    kind = StoreError if any(refuses(fault) for fault in faults.values()) else UnsentError
    return kind(f"{what}: {reasons}")


def _rejected(fault: RejectedError) -> str:
    if fault.code == "NOPERM":
        return f"{fault}; docs/store.md lists the permissions that the store's user needs"
    if "unknown command" in str(fault):
        return f"{fault}: the server must be Redis 7.0 or later, or Valkey"
    return _MEANINGS.get(fault.code, str(fault))
