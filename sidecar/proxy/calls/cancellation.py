"""Cancellation of a call by its client, from the moment that the call is in flight."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from sidecar.outcome import Event
from sidecar.proxy.backend.pool import Outgoing, UpstreamError

CANCEL_GRACE: Final = 5.0
"""Seconds that the backend has to end a call that its client has cancelled."""


class Cancellation:
    """State that a cancellation and the call that it names share.

    Attributes:
        requested: True when the client has cancelled the call, perhaps before it was admitted: an end without a
            result is then caused by the client, and costs the reserved amounts.
        wake: called when the client cancels a call that is not sent yet, and waits for its confirmation.
    """

    __slots__ = ("_outgoing", "requested", "wake")

    def __init__(self) -> None:
        self.requested = False
        self.wake: Callable[[], None] | None = None
        self._outgoing: Outgoing | None = None

    def attach(self, outgoing: Outgoing) -> None:
        """Set the backend request to end."""
        self._outgoing = outgoing

    def request(self) -> bool:
        """Cancel the call; end its exchange after `CANCEL_GRACE`. Return False when the backend cannot know it yet.

        Servers should not answer a cancelled call (2025-11-25, cancellation), and some do not end it either.
        """
        self.requested = True
        if self.wake is not None:
            self.wake()
            return False
        asyncio.get_running_loop().call_later(CANCEL_GRACE, self._end_exchange)
        return True

    def _end_exchange(self) -> None:
        if self._outgoing is not None and self._outgoing.answer is not None:
            self._outgoing.answer.fail(UpstreamError(Event.CLIENT_GONE, "the call was cancelled and never ended"))


def session_ended(ending: Iterable[Cancellation], status: int) -> None:
    """Cancel the calls of a session once the backend has confirmed its end; when it refuses, they go on."""
    for each in ending:
        if 200 <= status < 300:
            each.request()
        elif 400 <= status < 500:
            each.requested = False
