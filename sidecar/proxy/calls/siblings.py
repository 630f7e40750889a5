"""Calls in flight in other workers of this sidecar, which a client may cancel over any of its connections."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Any, Protocol, Self

from sidecar.model import Call, Caller, CallKind, RequestId
from sidecar.protocol.jsonrpc import canonical


@dataclass(frozen=True, slots=True)
class CallName:
    """Name of a call in flight, or of all calls of a session.

    Attributes:
        issuer_id: of the caller, as the next three.
        session: id of the session; None without one.
        id: canonical id of the request; None names all of the session.
    """

    issuer_id: str
    subject: str
    account: str
    client_id: str
    session: str | None
    id: RequestId | None = None

    @classmethod
    def of(cls, caller: Caller, call: Call) -> Self:
        """Return the name of the call that a cancellation names, or of the session that its client ends."""
        named: Any = None if call.kind is CallKind.END_SESSION else canonical(call.params["requestId"])
        return cls(caller.issuer_id, caller.subject, caller.account, caller.client_id, call.session, named)

    @property
    def parts(self) -> tuple[Any, ...]:
        """Its values, for another process."""
        return astuple(self)


class Siblings(Protocol):
    """The other workers."""

    async def cancel(self, named: CallName) -> RequestId | None:
        """Cancel calls; return the id of one of them as its client sent it, and None if there is none."""

    async def session_ending(self, named: CallName) -> None:
        """Mark the calls of a session as cancelled while the backend is asked to end it."""

    def session_ended(self, named: CallName, status: int) -> None:
        """End the calls of a session, or let them go on, by the backend's status."""


class NoSiblings:
    """Process that serves alone."""

    async def cancel(self, named: CallName) -> RequestId | None:
        """Find nothing."""
        return None

    async def session_ending(self, named: CallName) -> None:
        """Mark nothing."""

    def session_ended(self, named: CallName, status: int) -> None:
        """End nothing."""
