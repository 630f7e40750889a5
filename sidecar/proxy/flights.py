"""Requests in flight by the ids their clients gave them: no two that a backend could take for one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from typing import Any

from sidecar.errors import ErrorCode, Refusal
from sidecar.ledger.refusals import REQUEST_IN_FLIGHT
from sidecar.model import Call, Caller, CallKind, RequestId
from sidecar.protocol.jsonrpc import canonical
from sidecar.proxy.passage import Passage


class Flights:
    """What is in flight in this process."""

    def __init__(self) -> None:
        self._by_request: defaultdict[Hashable, list[Passage]] = defaultdict(list)

    def begin(self, passage: Passage) -> None:
        """Note a request.

        Raises:
            Refusal: its id is in flight on its session: one answer could be taken for the other's.
        """
        call = passage.the_call
        if call.kind is not CallKind.REQUEST or call.id is None:
            return
        key = _key(passage.the_caller, call, call.id)
        if call.session is not None and key in self._by_request:
            raise Refusal(ErrorCode.MESSAGE_MALFORMED, REQUEST_IN_FLIGHT)
        self._by_request[key].append(passage)
        passage.flight = key

    def end(self, passage: Passage) -> None:
        """Forget a request that is over."""
        if passage.flight is None:
            return
        flying = self._by_request[passage.flight]
        flying.remove(passage)
        if not flying:
            del self._by_request[passage.flight]
        passage.flight = None

    def ended_by(self, caller: Caller, call: Call) -> list[Passage]:
        """The requests that a cancellation names, or all of a session that its client ends."""
        if call.kind is CallKind.END_SESSION:
            return [
                passage
                for flying in self._by_request.values()
                for passage in flying
                if passage.the_call.session == call.session and _who(passage.the_caller) == _who(caller)
            ]
        asked: Any = call.params.get("requestId")
        return list(self._by_request.get(_key(caller, call, asked), ()))


def _who(caller: Caller) -> Hashable:
    return (caller.issuer_id, caller.subject, caller.client_id)


def _key(caller: Caller, call: Call, id_: RequestId) -> Hashable:
    return (_who(caller), call.session, canonical(id_))
