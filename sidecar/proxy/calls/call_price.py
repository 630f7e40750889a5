"""Price of one call when it is settled: from its result now, or later from the context stored with its hold."""

from __future__ import annotations

from sidecar.model import Application, Price
from sidecar.observe.metrics import credits_of
from sidecar.policy import deferral, pricing
from sidecar.policy.pricing import SettledPrice
from sidecar.protocol.results import Response
from sidecar.proxy.calls.steps import Decided


def settled_price(decided: Decided, held: Application | None, response: Response | None) -> SettledPrice | None:
    """Return the price of the call by its result; None to charge the reserved amounts."""
    operation, decision = decided.operation, decided.decision
    if operation is None or response is None or response.result is None:
        return None
    demands = held.demands if held is not None else ()
    return pricing.charges(operation.prices, demands, decision.arguments, decision.meta, response.result)


def deferral_context(decided: Decided, held: Application, reserved: tuple[Price, ...]) -> bytes:
    """Return the context that prices the call if its response arrives on another stream."""
    operation, decision = decided.operation, decided.decision
    if operation is None:
        return deferral.EMPTY
    return deferral.write(operation, decision.arguments, decision.meta, held.demands, credits_of(reserved))
