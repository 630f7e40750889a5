"""Calls of this process that wait for a person, by the handle of their approval."""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import Final, Self

from sidecar.errors import ErrorCode, Refusal

MAX_WAITING: Final = 50
"""Most calls of one account that wait in this process; the store keeps as many pending approvals."""

_TOO_MANY: Final = "too many calls wait for a confirmation"


class WaitEnd(Enum):
    """Reason for which a call no longer waits."""

    ACCEPTED = "accepted"
    DECLINED = "declined"
    UNAVAILABLE = "unavailable"  # the client answered the question with an error
    EXPIRED = "expired"
    CANCELLED = "cancelled"  # the client has cancelled the call, or disconnected
    STOPPING = "stopping"  # this process is shutting down


class WaitingCall:
    """One call that waits.

    Args:
        calls: registry that it belongs to while it is entered.
        account: digest of its account.
        handle: handle of its approval.

    Attributes:
        end: why it must not wait any longer; None while it may.
        failed: True when the client has answered with something else than an answer.
    """

    def __init__(self, calls: WaitingCalls, account: str, handle: str) -> None:
        self._calls = calls
        self._woken = asyncio.Event()
        self.account = account
        self.handle = handle
        self.end: WaitEnd | None = None
        self.failed = False

    def __enter__(self) -> Self:
        self._calls.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._calls.remove(self)

    def wake(self, *, failed: bool = False) -> None:
        """Let the call read the state of its approval now."""
        self.failed = self.failed or failed
        self._woken.set()

    def stop(self, end: WaitEnd) -> None:
        """End the wait, whatever the approval's state; the first reason counts."""
        self.end = self.end or end
        self._woken.set()

    async def woken(self, within: float) -> bool:
        """Wait until there is something to look at; return False when nothing happened in time."""
        try:
            async with asyncio.timeout(within):
                await self._woken.wait()
        except TimeoutError:
            return False
        self._woken.clear()
        return True


class WaitingCalls:
    """Registry of the waiting calls."""

    def __init__(self) -> None:
        self._stopping = False
        self._by_account: dict[str, set[WaitingCall]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._by_account.values()))

    def enter(self, account: str, handle: str, slots: int) -> WaitingCall:
        """Make a waiting call; it is registered while it is entered as a context.

        Args:
            account: digest of its account.
            handle: handle of its approval.
            slots: calls that this process may have in flight (`limits.in_flight`): half of them stay for the answers.

        Raises:
            Refusal: `overloaded`: the account or the process has too many, or the process is shutting down.
        """
        if self._stopping:
            raise Refusal(ErrorCode.OVERLOADED, retry_after=1)
        if len(self) >= max(1, slots // 2):
            raise Refusal(ErrorCode.OVERLOADED, log=_TOO_MANY, retry_after=1)
        if len(self._by_account.get(account, ())) >= MAX_WAITING:
            detail = f"This account has {MAX_WAITING} calls that wait for a confirmation already; answer one first."
            raise Refusal(ErrorCode.OVERLOADED, detail, log=_TOO_MANY, retry_after=1)
        return WaitingCall(self, account, handle)

    def add(self, call: WaitingCall) -> None:
        """Register a call."""
        self._by_account.setdefault(call.account, set()).add(call)

    def remove(self, call: WaitingCall) -> None:
        """Forget a call that no longer waits."""
        calls = self._by_account[call.account]
        calls.discard(call)
        if not calls:
            del self._by_account[call.account]

    def answered(self, account: str, handle: str, *, failed: bool = False) -> None:
        """Wake the calls that wait for an approval.

        Args:
            account: digest of the account.
            handle: handle of the approval.
            failed: True when the client has answered with something else than an answer.
        """
        for call in self._by_account.get(account, ()):
            if call.handle == handle:
                call.wake(failed=failed)

    def stop(self) -> None:
        """End every wait, and refuse new ones: the process is shutting down."""
        self._stopping = True
        for calls in self._by_account.values():
            for call in calls:
                call.stop(WaitEnd.STOPPING)
