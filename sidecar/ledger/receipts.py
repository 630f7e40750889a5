"""What a caller is told that its call cost and left: pure, from what was reserved and what is charged.

For most amounts that is known when the settle is written, because the store will compute the same from the
same hold (`settlement`). Who pays for `once` items only the store knows: two calls may have reserved one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sidecar.model import AmountKind, Demand, Price
from sidecar.outcome import CHARGE_RESERVE, Action, Charge, Event, Receipt

RECEIPTED: Final = frozenset({Event.RESULT, Event.TOOL_ERROR, Event.TASK_STARTED})
"""Events whose response is a tool's result, or the task in its place: what it costs is charged then and there."""

FIELDS: Final = {
    "request_id": "the `X-Request-Id` of the call, which log and journal have too",
    "credits": "by pool, what the call was charged",
    "quotas": "by quota, what the call used up",
    "spent": "units that this call cost; 0 when it was free",
    "left": "units left after it; absent when nothing limits them, or when it is not known any more",
    "limit": "of quotas: the limit of the window that has the least left",
    "window": "of quotas: that window: `minute`, `hour`, `day` or `month`",
    "resets_in": "seconds from the call's admission until that window, or that of included credits, ends",
    "pending": "`true`: the store has not yet confirmed what it cost; `reserved` stands for `spent`",
    "reserved": "units that were reserved; it cost no more, and `left` is at least what is told",
}
"""What a receipt says; in the order of the documentation."""


def costs(
    action: Action, demands: Sequence[Demand], prices: Sequence[Price], charges: Sequence[Charge] | None
) -> list[int | None]:
    """Units that each demand costs; None where only the store can say.

    Args:
        action: what was done with the hold, which was forwarded.
        demands: as they were reserved.
        prices: one per demand, as the admission told them.
        charges: as they were given to the store; None for what was reserved.
    """
    given = charges or [CHARGE_RESERVE] * len(demands)
    return [_cost(action, *each) for each in zip(demands, prices, given, strict=True)]


def _cost(action: Action, demand: Demand, price: Price, charge: Charge) -> int | None:
    if demand.fixed:
        return price.needed
    if action is Action.RELEASE:
        return 0
    if demand.items is not None:
        delivers = charge.items is None or not set(demand.items).isdisjoint(charge.items)
        return None if delivers and price.needed else 0
    if charge.amount is None:
        return price.needed
    return charge.amount if demand.kind is AmountKind.QUOTA else min(charge.amount, price.needed)


def receipt(
    request_id: str, prices: Sequence[Price], known: Sequence[int | None], confirmed: Receipt | None
) -> dict[str, Any]:
    """The receipt of one call.

    Args:
        request_id: the call's.
        prices: what was reserved, and what was left before.
        known: what each cost, as `costs` gives it.
        confirmed: the store's word on those that are not known; None while it has not come.
    """
    made: dict[str, Any] = {"request_id": request_id}
    for price, cost in zip(prices, known, strict=True):
        spent = _confirmed(price, confirmed) if cost is None else cost
        section = "credits" if price.kind is AmountKind.CREDIT else "quotas"
        made.setdefault(section, {})[price.name] = _entry(price, spent)
    return made


def _confirmed(price: Price, confirmed: Receipt | None) -> int | None:
    # A late one says nothing of the price: the hold had been resolved before, by whoever found its lease run out.
    if confirmed is None or confirmed.late:
        return None
    return (confirmed.paid if price.kind is AmountKind.CREDIT else confirmed.used).get(price.name)


def _entry(price: Price, spent: int | None) -> dict[str, Any]:
    taken = price.needed if spent is None else spent
    left = None if price.left is None else max(0, price.left - taken)
    facts = {"left": left, "limit": price.limit, "window": price.window, "resets_in": price.resets_in}
    told = {key: value for key, value in facts.items() if value is not None}
    return {"pending": True, "reserved": taken, **told} if spent is None else {"spent": spent, **told}
