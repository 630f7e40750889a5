"""Requests in flight by the ids that their clients chose: a backend must not confuse two requests."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Final

from sidecar.errors import ErrorCode, Refusal
from sidecar.ledger.admission_refusals import REQUEST_IN_FLIGHT
from sidecar.model import Caller, CallKind, RequestId
from sidecar.protocol.jsonrpc import canonical
from sidecar.proxy.calls.cancellation import Cancellation
from sidecar.proxy.calls.siblings import CallName
from sidecar.proxy.calls.steps import ParsedCall

# Members of enums as constants: as attributes of their classes they take ten times as long.
_REQUEST: Final = CallKind.REQUEST


class InFlightRequests:
    """Registry of the requests in flight in this process."""

    def __init__(self) -> None:
        self._by_key: dict[Hashable, list[ParsedCall]] = {}

    def __iter__(self) -> Iterator[ParsedCall]:
        """Iterate over the requests in flight."""
        return (each for requests in list(self._by_key.values()) for each in requests)

    def begin(self, parsed: ParsedCall) -> Hashable:
        """Add a request; give the returned key to `end`.

        Raises:
            Refusal: the id is already in flight on the session: the two answers could be confused.
        """
        call = parsed.call
        if call.kind is not _REQUEST or call.id is None:
            return None
        key = _owner(parsed.caller), call.session, call.id if type(call.id) is int else canonical(call.id)
        alone = [parsed]
        requests = self._by_key.setdefault(key, alone)
        if requests is not alone:
            if call.session is not None:
                raise Refusal(ErrorCode.MESSAGE_MALFORMED, REQUEST_IN_FLIGHT)
            requests.append(parsed)
        return key

    def end(self, key: Hashable, parsed: ParsedCall) -> None:
        """Remove a request that is over."""
        if key is None:
            return
        requests = self._by_key.pop(key)
        if len(requests) > 1:
            requests.remove(parsed)
            self._by_key[key] = requests

    def named(self, name: CallName) -> list[ParsedCall]:
        """Return the requests that a cancellation names, or all of a session that its client ends."""
        owner = (name.issuer_id, name.subject, name.account, name.client_id)
        if name.id is not None:
            return list(self._by_key.get((owner, name.session, name.id), ()))
        return [each for each in self if each.call.session == name.session and _owner(each.caller) == owner]

    def cancel(self, named: CallName) -> RequestId | None:
        """Cancel calls of this process; return the id, as its client sent it, of one that the backend may know."""
        cancelled = [each for each in self.named(named) if each.cancellation.request()]
        return cancelled[-1].call.id if cancelled else None

    def session_ending(self, named: CallName) -> list[Cancellation]:
        """Mark the calls of a session as cancelled; return what `cancellation.session_ended` needs."""
        cancellations = [each.cancellation for each in self.named(named)]
        ending = [each for each in cancellations if not each.requested]
        for each in ending:
            each.requested = True
        return ending


def _owner(caller: Caller) -> Hashable:
    return (caller.issuer_id, caller.subject, caller.account, caller.client_id)
