"""Receipts for callers: the cost of a call, and the units left after it.

Pure. Most costs are known before the store has answered the settle: `settlement` computes them by the same rules. Only
the store knows which call pays for a `once` item, because two calls may have reserved the same one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sidecar.model import AmountKind, Demand, Price
from sidecar.outcome import CHARGE_RESERVE, Action, Charge, Event, Receipt
from sidecar.window_rules import WINDOWS

# Members of enums as constants: as attributes of their classes they take ten times as long.
_RELEASE: Final = Action.RELEASE
_QUOTA: Final = AmountKind.QUOTA
_CREDIT: Final = AmountKind.CREDIT

RECEIPTED: Final = frozenset({Event.RESULT, Event.TOOL_ERROR, Event.TASK_STARTED})
"""Events of responses that are a tool's result or a task and are charged at once."""

FIELDS: Final = {
    "request_id": "the `X-Request-Id` of the call, which log and journal have too",
    "credits": "by pool, credits charged for the call",
    "quotas": "by quota, units that the call used",
    "spent": "units that this call cost; 0 when it was free",
    "left": "units left after it; absent when nothing limits them, or when the number is no longer known",
    "limit": "of quotas: the limit of the window that has the least left",
    "window": f"of quotas: that window: {', '.join(f'`{window}`' for window in WINDOWS)}",
    "resets_in": "seconds from the call's admission until that window, or that of included credits, ends",
    "pending": "`true`: the store has not yet confirmed the cost; `reserved` replaces `spent`",
    "reserved": "units that were reserved; the cost is not higher, and at least `left` units are left",
}
"""Members of a receipt, in the order of the documentation."""


def costs(
    action: Action, demands: Sequence[Demand], prices: Sequence[Price], charges: Sequence[Charge] | None
) -> list[int | None]:
    """Return the units that each demand costs; None where only the store knows.

    Args:
        action: action on the hold; the call was forwarded.
        demands: demands of the admission.
        prices: price of each demand, from the admission reply.
        charges: charges sent to the store; None charges what was reserved.
    """
    known: list[int | None] = [price.needed for price in prices]
    if not len(demands) == len(known) == len(charges or demands):
        raise ValueError("demands, prices and charges are not those of one call")
    for place, demand in enumerate(demands):
        if demand.fixed:
            continue
        price, charge = prices[place], charges[place] if charges else CHARGE_RESERVE
        if action is _RELEASE:
            known[place] = 0
        elif demand.items is not None and not charge.unmarked:
            known[place] = _items_cost(demand.items, price, charge)
        elif charge.amount is not None and (demand.kind is _QUOTA or charge.amount < price.needed):
            known[place] = charge.amount
    return known


def _items_cost(asked: tuple[str, ...], price: Price, charge: Charge) -> int | None:
    delivers_items = charge.items is None or not set(asked).isdisjoint(charge.items)
    return None if delivers_items and price.needed else 0


def receipt(
    request_id: str, prices: Sequence[Price], known: Sequence[int | None], confirmed: Receipt | None
) -> dict[str, Any]:
    """Return the receipt of one call.

    Args:
        request_id: `X-Request-Id` of the call.
        prices: reserved units, and units left before the call.
        known: result of `costs`.
        confirmed: the store's receipt, which has the costs that `costs` could not know; None until it arrives.
    """
    credits: dict[str, Any] = {}
    quotas: dict[str, Any] = {}
    for place, price in enumerate(prices):
        cost = known[place]
        spent = _confirmed(price, confirmed) if cost is None else cost
        taken = price.needed if spent is None else spent
        entry: dict[str, Any] = {"pending": True, "reserved": taken} if spent is None else {"spent": spent}
        if price.left is not None:
            entry["left"] = price.left - taken if price.left > taken else 0
        if price.limit is not None:
            entry["limit"] = price.limit
        if price.window is not None:
            entry["window"] = price.window
        if price.resets_in is not None:
            entry["resets_in"] = price.resets_in
        (credits if price.kind is _CREDIT else quotas)[price.name] = entry
    made: dict[str, Any] = {"request_id": request_id}
    if credits:
        made["credits"] = credits
    if quotas:
        made["quotas"] = quotas
    return made


def _confirmed(price: Price, confirmed: Receipt | None) -> int | None:
    # A late receipt has no costs: the hold was resolved before, when its lease had expired.
    if confirmed is None or confirmed.late:
        return None
    return (confirmed.paid if price.kind is _CREDIT else confirmed.used).get(price.name)
