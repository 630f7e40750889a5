"""Steps of a sidecar towards the store; each names the function that it mirrors."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from sidecar.model import AdmissionCode, AdmissionReply
from sidecar.outcome import Action, Event
from tests.ledger.simulation.calls import Phase, Seen, SimCall
from tests.ledger.simulation.messages import (
    Admit,
    Command,
    Defer,
    Fault,
    Follow,
    Recall,
    Release,
    Sent,
    Settle,
    Sweep,
    Wire,
)
from tests.ledger.simulation.rules import Rules

_PAID = (Event.RESULT, Event.TASK_STARTED)
_RESUMING_LEASE = 120_000  # `Resuming.settle` makes an application of its own, with the lease that has by itself


@dataclass(slots=True)
class Delivery:
    """Mirror of `outbox._Delivery`."""

    command: Command
    ended: Callable[[], None]
    load: bool = False


class SimSidecar:
    """Process that may die at any moment, and is then restarted without state.

    Args:
        name: what holds call their owner.
        rules: what it does.
        passed: gets the deferred calls whose response has passed on a stream.

    Attributes:
        wire: None while there is no connection, as far as it knows.
        again: mirror of `Outbox._retries`.
        calls: those it has taken and not seen to their end.
        leaving: whether it was asked to leave: it delivers what it owes, until it is gone.
    """

    def __init__(self, name: str, rules: Rules, passed: set[str]) -> None:
        self.name = name
        self._rules = rules
        self._passed = passed
        self.start()

    def start(self) -> None:
        """Start a new process."""
        self.alive, self.leaving = True, False
        self.wire: Wire | None = None
        self.again: deque[Delivery] = deque()
        self.calls: dict[str, SimCall] = {}
        self._settling: set[str] = set()

    def die(self) -> None:
        """Die by kill -9; commands that were written may still arrive."""
        for call in self.calls.values():
            call.orphaned, call.phase = not call.acknowledged, Phase.OVER
        self.alive, self.wire = False, None
        self.calls, self.again = {}, deque()

    # --- connection ------------------------------------------------------------------------------

    def connected(self, wire: Wire) -> None:
        """Mirror of `StoreConnection._keep_connected`."""
        self.wire = wire

    def disconnected(self) -> None:
        """Mirror of `StoreConnection._keep_connected` after `RespTransport.connection_lost`: pending commands fail."""
        wire, self.wire = self.wire, None
        if wire is not None:
            wire.lost()

    def _send(self, command: Command, done: Callable[[Any], None], load: bool = False) -> bool:
        """Mirror of `StoreConnection.send`; False is its `UnsentError`."""
        if self.wire is None:
            return False
        self.wire.send(Sent(command, done, load))
        return True

    def _run(self, command: Command, done: Callable[[Any], None]) -> None:
        """Mirror of `Store.run`: once; after NOSCRIPT the command follows its script."""

        def answered(reply: Any) -> None:
            if reply is not Fault.NOSCRIPT or not self._send(command, done, load=True):
                done(reply)

        if not self._send(command, answered):
            done(Fault.UNANSWERED)

    # --- deliveries ------------------------------------------------------------------------------

    def _deliver(self, command: Command, ended: Callable[[], None]) -> None:
        """Mirror of `Outbox.deliver`."""
        self._give(Delivery(command, ended))

    def _give(self, delivery: Delivery) -> None:
        """Mirror of `Outbox._send`; after NOSCRIPT the script precedes its command (`topology.resend`)."""
        if not self._send(delivery.command, partial(self._given, delivery), delivery.load):
            self._give_again(delivery)

    def _given(self, delivery: Delivery, reply: Any) -> None:
        """Mirror of `Outbox._on_reply`."""
        if isinstance(reply, Fault):
            delivery.load = reply is Fault.NOSCRIPT
            self._give_again(delivery)
        else:
            delivery.ended()

    def _give_again(self, delivery: Delivery) -> None:
        """Mirror of `Outbox._requeue`."""
        if self._rules.repeats:
            self.again.append(delivery)

    def deliver_again(self) -> None:
        """Mirror of `Outbox._retry_all`."""
        for _ in range(len(self.again) if self.wire is not None else 0):
            self._give(self.again.popleft())

    # --- a call ----------------------------------------------------------------------------------

    def admit(self, call: SimCall) -> None:
        """Mirror of `Store.admit` up to the sending; an unsent admission is refused, and needs no release."""
        command = Admit(call.account, call.application)
        if self._send(command, partial(self._admitted, call, command)):
            self.calls[call.id] = call
        else:
            self._refuse(call)

    def _admitted(self, call: SimCall, command: Admit, reply: Any, loaded: bool = False) -> None:
        """Mirror of `Store._answer` and the rest of `Store.admit`, then of `Admission.admit`."""
        if call.cancelled:
            return
        if reply is Fault.NOSCRIPT and not loaded:
            if not self._send(command, partial(self._admitted, call, command, loaded=True), load=True):
                self._undo(call)
                self._refuse(call)
        elif reply is Fault.UNANSWERED:
            self._undo(call)
            self._refuse(call)
        elif isinstance(reply, AdmissionReply) and reply.code is AdmissionCode.ADMITTED:
            call.phase = Phase.ADMITTED
        else:  # refused by the gates, or by a server that ran nothing (`delivery.NEVER_RAN`)
            self._refuse(call)
            self._finished(call)

    def cancel(self, call: SimCall) -> None:
        """Mirror of a cancelled `Store.admit`: the client has disconnected, the hold may exist."""
        call.cancelled, call.phase = True, Phase.OVER
        self._undo(call)

    def _undo(self, call: SimCall) -> None:
        """Mirror of `Store._release_unanswered`."""
        if self._rules.undoes:
            self._deliver(Release(call.account, call.application, False), partial(self._finished, call))

    def _refuse(self, call: SimCall) -> None:
        call.seen, call.phase = Seen.REFUSED, Phase.OVER

    def _finished(self, call: SimCall) -> None:
        call.acknowledged = True
        self._forget(call)

    def _forget(self, call: SimCall) -> None:
        if call.acknowledged and call.phase is Phase.OVER:
            self.calls.pop(call.id, None)

    def leave_service(self) -> None:
        """Exit after SIGTERM and the grace: finish calls in flight, accept no more calls."""
        self.leaving = True
        for call in list(self.calls.values()):
            if call.phase is Phase.ASKED:
                self.cancel(call)
            elif call.phase in (Phase.ADMITTED, Phase.FORWARDED):
                self.resolve(call, Event.OWNER_DIED if call.reached else Event.NOT_SENT)

    def forward(self, call: SimCall) -> None:
        """`Forwarder.forward`: the backend gets it."""
        call.reached, call.phase = True, Phase.FORWARDED

    def resolve(self, call: SimCall, event: Event) -> None:
        """Mirror of `Settlement.resolve`: send the command before the relay, without awaiting it."""
        call.event, call.phase = event, Phase.RESOLVED
        asked, finished = call.application, partial(self._finished, call)
        todo = self._rules.action(event, asked.on_unknown, call.charge_errors)
        if todo is Action.DEFER:
            call.events = (f"{call.id}-1", f"{call.id}-2")
            self._deliver(Defer(call.account, asked, call.events), finished)
        elif todo is Action.RELEASE:
            self._deliver(Release(call.account, asked, event is not Event.NOT_SENT), finished)
        else:
            charges = call.truth if todo is Action.CHARGE_RESULT else None
            self._deliver(Settle(call.account, asked, charges), finished)

    def relay(self, call: SimCall) -> None:
        """`relay`: the client gets the final message."""
        call.phase = Phase.OVER
        if call.event not in (Event.DEFERRED, Event.CLIENT_GONE, Event.OWNER_DIED):
            call.seen = Seen.RESULT if call.event in _PAID else Seen.ERROR
        self._forget(call)

    # --- a stream --------------------------------------------------------------------------------

    def respond(self, call: SimCall, event: Event, resumed: str) -> None:
        """`Resuming.settle`: a response passes on a GET's stream; only once the store has been asked."""
        request = call.application.request
        if request is not None:
            recall = Recall(call.account, request, event in _PAID, resumed)
            self._run(recall, partial(self._recalled, call, event))

    def _recalled(self, call: SimCall, event: Event, reply: Any) -> None:
        if isinstance(reply, Fault):
            return  # refused: the response is not relayed
        if reply is None or reply[0] in self._settling:
            self._pass(call, event)
            return
        call_id, _, on_unknown, own = reply
        asked = replace(call.application, call_id=call_id, lease=_RESUMING_LEASE)
        todo = self._rules.action(event, on_unknown, call.charge_errors) if own else Action.CHARGE_RESERVE
        self._passed.add(call_id)
        self._settling.add(call_id)
        ended = partial(self._settling.discard, call_id)
        if todo is Action.RELEASE:
            self._deliver(Release(call.account, asked, True), ended)
        else:
            charges = call.truth if todo is Action.CHARGE_RESULT else None
            self._deliver(Settle(call.account, asked, charges), ended)
        self._pass(call, event)

    @staticmethod
    def _pass(call: SimCall, event: Event) -> None:
        call.seen = Seen.RESULT if event in _PAID else Seen.ERROR

    def leave(self, call: SimCall, resumed: str, events: tuple[str, ...]) -> None:
        """`Resuming.left`: the stream that resumed another has ended without the response, too."""
        call.events = events
        self._deliver(Follow(call.account, resumed, events), lambda: None)

    def sweep(self, account: str) -> None:
        """`sweeper.sweep`."""
        self._run(Sweep(account), lambda _: None)
