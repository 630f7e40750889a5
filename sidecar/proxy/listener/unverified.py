"""Requests with a caller that is not known yet, because the issuer must be asked about the token.

Their bodies wait unread, but a part of each has arrived. All of them share the memory of one account, so that
clients without a valid token leave the rest to callers that have one.
"""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from typing import Any, Final

from sidecar.model import Caller
from sidecar.proxy.listener.answering_connection import ClientRequest
from sidecar.proxy.listener.body import memory_exhausted
from sidecar.proxy.memory import MemoryBudget

UNREAD: Final = 320 * 1024
"""Bytes of an unread body that can arrive: those at which its connection is paused, and one read more."""
_NO_ACCOUNT: Final = ""


class Unverified:
    """Await the caller of a request. A token that needs no waiting holds no memory and is never refused here.

    Args:
        verified: returns the caller, or refuses the token.
        request: the request; its body waits during the verification.
        budget: counts the body while the token is being verified.
        total: bytes of the budget.
    """

    __slots__ = ("_budget", "_request", "_total", "_verified")

    def __init__(
        self, verified: Coroutine[Any, Any, Caller], request: ClientRequest, budget: MemoryBudget, total: int
    ) -> None:
        self._verified = verified
        self._request = request
        self._budget = budget
        self._total = total

    def __await__(self) -> Generator[Any, Any, Caller]:
        """Take the first step, and hold memory only if it was not the last.

        Raises:
            Refusal: `overloaded`, or the token is refused.
        """
        steps = self._verified.__await__()
        try:
            step = next(steps)
        except StopIteration as done:
            caller: Caller = done.value
            return caller
        lease = self._budget.lease(_NO_ACCOUNT, self._total)
        try:
            if not lease.grow(self._unread()):
                steps.close()
                raise memory_exhausted()
            return (yield from _continued(steps, step))
        finally:
            lease.close()

    def _unread(self) -> int:
        length = self._request.content_length
        if length is None:
            return UNREAD if self._request.can_read_body else 0
        return min(length, UNREAD)


def _continued(steps: Generator[Any, Any, Caller], step: Any) -> Generator[Any, Any, Caller]:
    """Continue a started coroutine, as `yield from` would."""
    try:
        while True:
            try:
                sent = yield step
            except GeneratorExit:
                steps.close()
                raise
            except BaseException as error:  # noqa: BLE001 - passed on to the coroutine
                step = steps.throw(error)
            else:
                step = steps.send(sent)
    except StopIteration as done:
        caller: Caller = done.value
        return caller
