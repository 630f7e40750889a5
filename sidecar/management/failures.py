"""Expected failures of account operations, each with a code, and failures of the store as such."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from sidecar.ledger.decoding import UnreadableError
from sidecar.store.connection.store_connection import RejectedError, StoreError
from sidecar.store.health.corruption import CorruptionError


class FailureCode(StrEnum):
    """Reason of a failure, for programs."""

    ACCOUNT_UNKNOWN = "account_unknown"
    """The store has no record, or no data, of the account."""
    NAME_UNKNOWN = "name_unknown"
    """The policy has no such plan, quota, pool or scope."""
    INVALID = "invalid"
    """A value has the wrong form."""
    TOO_LITTLE = "too_little"
    """The balance is less than the credits to spend."""
    TOO_MUCH = "too_much"
    """The balance would exceed the largest amount."""
    VERSION_CONFLICT = "version_conflict"
    """The record has changed since it was read."""
    KEY_REUSED = "key_reused"
    """The idempotency key belongs to another change."""
    BUSY = "busy"
    """The journal changes faster than it can be read."""
    STORE_UNAVAILABLE = "store_unavailable"
    """The store is unreachable; the outcome of a change may be unknown."""
    STORE_REJECTED = "store_rejected"
    """The store rejects the command."""
    STORE_CORRUPT = "store_corrupt"
    """A stored value does not match the layout."""


class ManagementError(Exception):
    """Expected failure of an operation; the message is for operators.

    Attributes:
        code: reason, for programs.
    """

    def __init__(self, code: FailureCode, message: str) -> None:
        super().__init__(message)
        self.code = code


@contextmanager
def store_failures() -> Iterator[None]:
    """Raise failures of the store as `ManagementError`."""
    try:
        yield
    except (CorruptionError, UnreadableError) as error:
        raise ManagementError(FailureCode.STORE_CORRUPT, f"store: {error}; to repair it, see docs/repair.md") from error
    except RejectedError as error:
        raise ManagementError(FailureCode.STORE_REJECTED, f"store: it rejects the command: {error}") from error
    except (StoreError, OSError, ValueError) as error:
        raise ManagementError(FailureCode.STORE_UNAVAILABLE, f"store: {error}") from error
