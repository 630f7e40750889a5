"""The bill of one call, from its admission until its outcome is known: resolved exactly once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from sidecar.ledger.settlement import action
from sidecar.ledger.store import Ledger
from sidecar.model import Action, Application, Call, Charge, Event, Exchange, OnUnknown, Receipt
from sidecar.policy import pricing
from sidecar.policy.decide import completed_arguments, request_meta
from sidecar.policy.rules import Tool
from sidecar.protocol.results import Response


class Bill:
    """What an admitted call owes, and to whom its outcome is told.

    Args:
        ledger: where holds live.
        application: what was admitted; None when nothing was reserved.
        call: the call, with the arguments its price is computed from.
        tool: its tool; None for methods that have no price.
        exchange: the record that the log line and metrics are made from.
    """

    def __init__(
        self, ledger: Ledger, application: Application | None, call: Call, tool: Tool | None, exchange: Exchange
    ) -> None:
        self._ledger = ledger
        self._application = application
        self._call = call
        self._tool = tool
        self._exchange = exchange
        self._receipt: asyncio.Future[Receipt] | None = None
        self.resolved = False

    def resolve(self, event: Event, response: Response | None = None) -> None:
        """Tell what became of the call; only the first telling counts.

        The settle or release is on its way to the store when this returns and is not waited for:
        later admissions of the account travel behind it on the same connection.
        """
        if self.resolved:
            return
        self.resolved = True
        self._exchange.code = "ok" if event is Event.RESULT else event.value
        tool = self._tool
        todo = action(event, tool.on_unknown, tool.charge_errors) if tool else action(event, OnUnknown.RELEASE)
        charges = self._charges(tool, response) if tool and todo is Action.CHARGE_RESULT else None
        if self._application is None:
            return
        self._exchange.action = todo
        if todo is Action.RELEASE:
            self._receipt = self._ledger.release(self._application, forwarded=event is not Event.NOT_SENT)
        else:
            self._receipt = self._ledger.settle(self._application, charges)

    def _charges(self, tool: Tool, response: Response | None) -> Sequence[Charge] | None:
        """The true price; the log's rows come with it."""
        if response is None or response.result is None:
            return None
        demands = self._application.demands if self._application else ()
        if len(demands) != len(tool.prices.amounts):
            return None
        settled = pricing.charges(
            tool.prices, demands, completed_arguments(tool, self._call), request_meta(self._call), response.result
        )
        self._exchange.rows = settled.rows
        self._exchange.notes += settled.failures
        return settled.charges

    def when_known(self, done: Callable[[], None]) -> None:
        """Call back once the store has said what the call cost; at once when it cost nothing."""
        if self._receipt is None:
            done()
        else:
            self._receipt.add_done_callback(lambda receipt: self._received(receipt, done))

    def _received(self, receipt: asyncio.Future[Receipt], done: Callable[[], None]) -> None:
        if not receipt.cancelled() and receipt.exception() is None:
            self._exchange.receipt = receipt.result()
        else:
            self._exchange.notes.append("the store did not confirm the settlement; the hold's lease decides")
        done()
