"""Limits on requests in flight: of this process, and of one account.

A request keeps its slot until the call has ended and its settlement is written, whether its client waits or not:
else a client that disconnects at once could make the backend work without limit.
"""

from __future__ import annotations

from sidecar.errors import ErrorCode, Refusal
from sidecar.model import Call, CallKind
from sidecar.proxy.snapshot import CallLimits


class InFlightLimits:
    """Slots of this process.

    Attributes:
        taken: number of slots in use.
    """

    def __init__(self) -> None:
        self.taken = 0
        self._by_account: dict[str, int] = {}

    def acquire(self, account: str, call: Call, limits: CallLimits) -> str:
        """Acquire a slot; release it with the returned key.

        Args:
            account: the digest of the account that is charged, whatever the subject and client.
            call: a call that ends others, or that others wait for, frees slots: an account has as many again for those.
            limits: the limits in force for this request.

        Raises:
            Refusal: `overloaded`; the log names the limit.
        """
        if self.taken >= limits.in_flight:
            raise Refusal(ErrorCode.OVERLOADED, log="limits.in_flight is reached", retry_after=1)
        taken, most = self._by_account.get(account, 0), limits.in_flight_per_account
        if taken >= most and not (taken < 2 * most and _frees_slots(call)):
            detail = f"This account has {most} calls in flight already; wait for one to end."
            raise Refusal(ErrorCode.OVERLOADED, detail, log="limits.in_flight_per_account is reached", retry_after=1)
        self.taken += 1
        self._by_account[account] = taken + 1
        return account

    def release(self, account: str) -> None:
        """Release a slot."""
        self.taken -= 1
        left = self._by_account[account] - 1
        if left:
            self._by_account[account] = left
        else:
            del self._by_account[account]


def _frees_slots(call: Call) -> bool:
    return call.kind in (CallKind.END_SESSION, CallKind.RESPONSE) or call.method == "notifications/cancelled"
