"""Other workers, as a worker reaches them through its supervisor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sidecar.model import RequestId
from sidecar.proxy.calls.cancellation import Cancellation, session_ended
from sidecar.proxy.calls.siblings import CallName
from sidecar.proxy.in_flight import InFlightRequests
from sidecar.runtime.workers.channel import Channel, ChannelError, Message

ANSWER_WITHIN: Final = 1.0
"""Seconds for the answers of the other workers."""

_MAX_ENDING: Final = 1000  # sessions of other workers that are being ended


class WorkerSiblings:
    """The other workers; without an answer of theirs, the calls count as not found.

    Args:
        channel: to the supervisor.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def cancel(self, named: CallName) -> RequestId | None:
        """Cancel calls; return the id of one of them as its client sent it, and None if there is none."""
        found: RequestId | None = await self._ask("cancel", named)
        return found

    async def session_ending(self, named: CallName) -> None:
        """Mark the calls of a session as cancelled while the backend is asked to end it."""
        await self._ask("session_ending", named)

    def session_ended(self, named: CallName, status: int) -> None:
        """End the calls of a session, or let them go on, by the backend's status."""
        self._channel.send({"kind": "siblings", "verb": "session_ended", "named": named.parts, "status": status})

    async def _ask(self, verb: str, named: CallName) -> RequestId | None:
        try:
            answer = await self._channel.ask("siblings", ANSWER_WITHIN, verb=verb, named=named.parts)
        except (ChannelError, TypeError):  # an id beyond 64 bits is no JSON for the channel
            return None
        found: RequestId | None = answer.get("found")
        return found


class SiblingRequests:
    """Requests of other workers about calls of this one.

    Args:
        requests: those in flight in this process.
    """

    def __init__(self, requests: InFlightRequests) -> None:
        self._requests = requests
        self._ending: dict[CallName, list[Cancellation]] = {}
        self._verbs: dict[str, Callable[[CallName, Message], RequestId | None]] = {
            "cancel": self._cancel,
            "session_ending": self._session_ending,
            "session_ended": self._session_ended,
        }

    def serve(self, request: Message) -> RequestId | None:
        """Serve one request; return the id of a call that was cancelled."""
        return self._verbs[request["verb"]](CallName(*request["named"]), request)

    def _cancel(self, named: CallName, _: Message) -> RequestId | None:
        return self._requests.cancel(named)

    def _session_ending(self, named: CallName, _: Message) -> None:
        if len(self._ending) >= _MAX_ENDING:  # their workers have died meanwhile
            self._ending.pop(next(iter(self._ending)))
        self._ending[named] = self._requests.session_ending(named)

    def _session_ended(self, named: CallName, request: Message) -> None:
        session_ended(self._ending.pop(named, ()), request["status"])
