"""What a call may cost before it is forwarded, and what it did cost once its result is known.

An amount that fails before the call refuses it; one that fails when settling charges what was
reserved and says so: a backend must not make its calls free by answering nonsense.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from sidecar.model import MAX_AMOUNT, AmountKind, Demand
from sidecar.outcome import CHARGE_RESERVE, Charge
from sidecar.policy.expressions import Expression, Scope, ValueRefusedError

Result = Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Amount:
    """One entry of `uses` or `spends`.

    Attributes:
        reserve: units to reserve; for an amount of items, None.
        items: gives the items asked for; None for plain amounts.
        each: units per item.
        settle: what it really cost: units, or for an amount of items those that were delivered.
        once: an item paid before costs nothing.
        rule: `file:line`.
    """

    kind: AmountKind
    name: str
    rule: str
    reserve: int | Expression | None = None
    items: Expression | None = None
    each: int = 1
    settle: int | Expression | None = None
    once: bool = False

    @property
    def fixed(self) -> bool:
        """Whether it is consumed however the call ends: a plain number of quota units."""
        return self.kind is AmountKind.QUOTA and isinstance(self.reserve, int) and self.settle is None

    @property
    def expressions(self) -> tuple[Expression, ...]:
        """Everything that is evaluated for it."""
        return tuple(part for part in (self.reserve, self.items, self.settle) if isinstance(part, Expression))


@dataclass(frozen=True, slots=True, eq=False)
class Prices:
    """All amounts of one tool, and what its results are asked.

    Attributes:
        amounts: `uses`, then `spends`, as the policy lists them.
        rows: rows of a result, for the log.
        limit: the longest list of items (`limits.items`).
        ready: for each amount that does not depend on the call its demand, else None.
        all_ready: those demands where no amount depends on the call.
        reads_data: whether settling needs the data of the result.
    """

    amounts: tuple[Amount, ...]
    rows: Expression | None
    limit: int
    ready: tuple[Demand | None, ...]
    all_ready: tuple[Demand, ...] | None
    reads_data: bool

    @classmethod
    def of(cls, amounts: Sequence[Amount], rows: Expression | None, limit: int) -> Prices:
        """Prepare the amounts of one tool."""
        late = [part for amount in amounts if isinstance(part := amount.settle, Expression)]
        late += [rows] if rows is not None else []
        ready = tuple(_demand(each, {}, limit) if isinstance(each.reserve, int) else None for each in amounts)
        known = tuple(demand for demand in ready if demand is not None)
        return cls(
            tuple(amounts),
            rows,
            limit,
            ready,
            known if len(known) == len(ready) else None,
            any(path[0] == "data" for expression in late for path in expression.reads),
        )


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a result says its call cost.

    Attributes:
        charges: one per demand of the call.
        rows: rows returned; None when the policy does not ask or the result does not say.
        failures: sentences for the log, one per amount that charges its reserve because its
            settle expression gave nothing usable.
    """

    charges: tuple[Charge, ...]
    rows: int | None = None
    failures: tuple[str, ...] = ()


def demands(prices: Prices, arguments: Mapping[str, Any], meta: object) -> tuple[Demand, ...]:
    """What one call has to reserve.

    Raises:
        ValueRefusedError: an amount cannot be computed from these arguments.
    """
    if prices.all_ready is not None:
        return prices.all_ready
    scope = {"arguments": arguments, "meta": meta}
    pairs = zip(prices.ready, prices.amounts, strict=True)
    return tuple([ready or _demand(amount, scope, prices.limit) for ready, amount in pairs])


def charges(
    prices: Prices, reserved: Sequence[Demand], arguments: Mapping[str, Any], meta: object, result: Result
) -> Settlement:
    """What a call really cost, from its result; never raises for anything a backend can answer.

    Args:
        prices: the tool's prices.
        reserved: the demands of the call's decision.
        arguments: the completed arguments that were judged (`rules.completed_arguments`).
        meta: the request's `params._meta`.
        result: the JSON-RPC `result`.
    """
    scope = {"arguments": arguments, "meta": meta, "result": result}
    if prices.reads_data:
        scope["data"] = data_of(result)
    settled: list[Charge] = []
    failures: list[str] = []
    for amount, demand in zip(prices.amounts, reserved, strict=True):
        try:
            settled.append(_charge(amount, demand, scope, prices.limit))
        except ValueRefusedError as error:
            settled.append(CHARGE_RESERVE)
            failures.append(f"{amount.rule}: {error}: the reserved {amount.name} were charged")
    return Settlement(tuple(settled), _rows(prices.rows, scope), tuple(failures))


def data_of(result: Result) -> Any:
    """The data of a result: `structuredContent`, else the JSON of a single text content of a tool or resource."""
    structured = result.get("structuredContent")
    if structured is not None:
        return structured
    content = result.get("content", result.get("contents"))
    if not isinstance(content, list) or len(content) != 1 or not isinstance(content[0], dict):
        return None
    text = content[0].get("text")
    # Contents of resources have no type, but the URI that they belong to.
    kind = content[0].get("type", "text" if "uri" in content[0] else None)
    if kind != "text" or not isinstance(text, str):
        return None
    try:
        return orjson.loads(text)
    except ValueError:
        return None


def _demand(amount: Amount, scope: Scope, limit: int) -> Demand:
    if amount.items is None:
        reserve = amount.reserve if isinstance(amount.reserve, int) else _units(amount.reserve, scope)
        return Demand(amount.kind, amount.name, reserve, fixed=amount.fixed)
    items = _items(amount.items, scope, limit)
    if not amount.once:
        return Demand(amount.kind, amount.name, _product(amount, len(items)))
    distinct = tuple(dict.fromkeys(items))
    return Demand(amount.kind, amount.name, _product(amount, len(distinct)), distinct, amount.each)


def _charge(amount: Amount, demand: Demand, scope: Scope, limit: int) -> Charge:
    if amount.settle is None:
        return CHARGE_RESERVE
    if amount.items is None:
        units = amount.settle if isinstance(amount.settle, int) else _units(amount.settle, scope)
        return Charge(_capped(amount, demand, units))
    if not isinstance(amount.settle, Expression):  # the models refuse a number beside `items`
        return CHARGE_RESERVE
    delivered = _items(amount.settle, scope, limit)
    requested = demand.items if demand.items is not None else _items(amount.items, scope, limit)
    if not set(requested).issuperset(delivered):
        raise ValueRefusedError(f"`{amount.settle.text}` names items that were not requested")
    if amount.once:
        return Charge(items=tuple(dict.fromkeys(delivered)))
    return Charge(_capped(amount, demand, _product(amount, len(delivered))))


def _capped(amount: Amount, demand: Demand, units: int) -> int:
    """Credits never cost more than was reserved; quota rows really returned count in full."""
    return units if amount.kind is AmountKind.QUOTA else min(units, demand.reserve)


def _product(amount: Amount, count: int) -> int:
    units = amount.each * count
    if units > MAX_AMOUNT:
        raise ValueRefusedError(f"`{_text(amount.items)}` gives more than {MAX_AMOUNT} units of {amount.name}")
    return units


def _units(expression: Expression | None, scope: Scope) -> int:
    value = None if expression is None else expression.value(scope)
    if type(value) is not int or not 0 <= value <= MAX_AMOUNT:
        raise ValueRefusedError(f"`{_text(expression)}` must give an integer from 0 to {MAX_AMOUNT}")
    return value


_ITEM_TYPES: Final = frozenset({str, int})


def _items(expression: Expression, scope: Scope, limit: int) -> list[str]:
    value = expression.value(scope)
    if type(value) is not list or not _ITEM_TYPES.issuperset(map(type, value)):
        raise ValueRefusedError(f"`{expression.text}` must give a list of strings or integers")
    if len(value) > limit:
        raise ValueRefusedError(f"`{expression.text}` must give at most {limit} items")
    return [item if type(item) is str else _digits(item, expression) for item in value]


def _digits(item: int, expression: Expression) -> str:
    if not -MAX_AMOUNT <= item <= MAX_AMOUNT:
        raise ValueRefusedError(f"`{expression.text}` gives an integer beyond 2^53 - 1")
    return str(item)


def _rows(expression: Expression | None, scope: Scope) -> int | None:
    if expression is None:
        return None
    try:
        return _units(expression, scope)
    except ValueRefusedError:
        return None


def _text(expression: Expression | None) -> str:
    return "" if expression is None else expression.text
