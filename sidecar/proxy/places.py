"""Places for requests in flight: so many in this process, and so many of them for one account.

A place is kept until the call has ended and its settlement is written, whether its client waits for it or not:
else a client that hangs up at once could have the backend work without bound.
"""

from __future__ import annotations

from collections import Counter

from sidecar.config.settings import Limits
from sidecar.errors import ErrorCode, Refusal
from sidecar.ledger.keys import caller_keys
from sidecar.model import Call, Caller, CallKind


class Places:
    """The places of this process.

    Attributes:
        taken: how many are taken now.
    """

    def __init__(self) -> None:
        self.taken = 0
        self._by_account: Counter[str] = Counter()

    def take(self, caller: Caller, call: Call, limits: Limits) -> str:
        """Take a place; give it back by the name it is answered.

        Args:
            caller: whose account it counts for, whatever subject and client call.
            call: what ends calls makes places free, so it gets one when its account has none left: as many again.
            limits: those in force for this request.

        Raises:
            Refusal: `overloaded`; the log is told which limit it is.
        """
        account = caller_keys(caller).digest
        if self.taken >= limits.in_flight:
            raise Refusal(ErrorCode.OVERLOADED, log="limits.in_flight is reached", retry_after=1)
        most = limits.in_flight_per_account
        if self._by_account[account] >= (2 * most if _ends_calls(call) else most):
            detail = f"This account has {most} calls in flight already; wait for one to end."
            raise Refusal(ErrorCode.OVERLOADED, detail, log="limits.in_flight_per_account is reached", retry_after=1)
        self.taken += 1
        self._by_account[account] += 1
        return account

    def leave(self, account: str) -> None:
        """Give a place back."""
        self.taken -= 1
        self._by_account[account] -= 1
        if not self._by_account[account]:
            del self._by_account[account]


def _ends_calls(call: Call) -> bool:
    return call.kind is CallKind.END_SESSION or call.method == "notifications/cancelled"
