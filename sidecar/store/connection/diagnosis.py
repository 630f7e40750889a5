"""Describe failures of the store for operators: the failure, and the settings to check. Messages contain no secret."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Final

from sidecar.config.tls_files import describe_tls_error
from sidecar.observe.logs import fault_place
from sidecar.store.connection.resp import RejectedError, StoreError, UnsentError

# Replaces messages of servers that are too long or too short to act on.
_MEANINGS: Final = {
    "WRONGPASS": "WRONGPASS: user or password in store.url is wrong, or the user is disabled",
    "NOAUTH": "NOAUTH: the server requires a password, and store.url has none",
    "DENIED": "DENIED: the server is in protected mode: it accepts no connections from other machines",
}
_ASK: Final = "; does it speak TLS on this port?"
_NOT_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNEXPECTED_EOF_WHILE_READING"})


def explain(fault: BaseException, *, tls: bool = False) -> str:
    """Return one sentence about a failed attempt to connect.

    Args:
        fault: exception of the attempt.
        tls: whether TLS was tried: a server without TLS may wait for more bytes.
    """
    if isinstance(fault, RejectedError):
        return _rejected(fault)
    if isinstance(fault, ssl.SSLError):
        return f"the store cannot be trusted: {describe_tls_error(fault)}" + (_ASK if fault.reason in _NOT_TLS else "")
    if not isinstance(fault, OSError | StoreError):
        return fault_place(fault)
    return str(fault) or "the store did not answer in time" + (_ASK if tls else "")


def is_permanent(fault: BaseException | None) -> bool:
    """Return whether the server is reachable but unusable, so that waiting would not help."""
    if isinstance(fault, RejectedError):
        return fault.code not in {"LOADING", "BUSY", "MASTERDOWN", "CLUSTERDOWN"}
    return isinstance(fault, ssl.SSLError) or type(fault) is StoreError


def combine(what: str, faults: Mapping[str, BaseException], *, tls: bool = False) -> StoreError:
    """Combine the failures of several servers: an `UnsentError`, unless one of them is permanent.

    Args:
        what: action that failed.
        faults: exception per server, by its address.
        tls: as for `explain`.
    """
    reasons = "; ".join(f"{name}: {explain(fault, tls=tls)}" for name, fault in faults.items())
    kind = StoreError if any(is_permanent(fault) for fault in faults.values()) else UnsentError
    return kind(f"{what}: {reasons}")


def _rejected(fault: RejectedError) -> str:
    if fault.code == "NOPERM":
        return f"{fault}; docs/store.md lists the permissions that the store's user needs"
    if "unknown command" in str(fault):
        return f"{fault}: the server must be Redis 7.0 or later, or Valkey"
    return _MEANINGS.get(fault.code, str(fault))
