"""Price of a call: the amounts to reserve before it is forwarded, and the charges for its result.

An amount that fails before the call refuses it. An amount that fails at the settlement charges the reserve and
logs it, so that a backend cannot make calls free with unusable results. Such a result marks no item as paid:
a request for `latest` that delivers another item must not make `latest` free afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from sidecar.model import MAX_AMOUNT, AmountKind, Demand
from sidecar.outcome import CHARGE_RESERVE, CHARGE_UNMARKED, Charge
from sidecar.policy.expressions.expressions import (
    PER_BYTE_AFTER,
    PER_BYTE_BEFORE,
    STEPS_AFTER,
    STEPS_BEFORE,
    Expression,
    Scope,
    ValueRefusedError,
)
from sidecar.policy.expressions.step_budget import Steps, steps_over
from sidecar.vocabulary import record

# Members of enums as constants: as attributes of their classes they take ten times as long.
_CREDIT: Final = AmountKind.CREDIT

Result = Mapping[str, Any]

MAX_ITEM: Final = 1024
"""Maximum length of an item in characters: paid items are stored permanently."""


@dataclass(frozen=True, slots=True, eq=False)
class Amount:
    """Entry of `uses` or `spends`.

    Attributes:
        reserve: units to reserve; None for an amount of items.
        items: expression of the requested items; None for plain amounts.
        each: units per item.
        settle: actual cost: units, or the delivered items for an amount of items.
        once: True when a paid item costs nothing the next time.
        rule: `file:line`.
        shadow: `file:line` of its quota in shadow mode, which refuses nothing; None for any other.
        fixed: True for a plain number of quota units, which is consumed regardless of the call's outcome.
    """

    kind: AmountKind
    name: str
    rule: str
    reserve: int | Expression | None = None
    items: Expression | None = None
    each: int = 1
    settle: int | Expression | None = None
    once: bool = False
    shadow: str | None = None
    fixed: bool = field(init=False)

    def __post_init__(self) -> None:
        fixed = self.kind is AmountKind.QUOTA and isinstance(self.reserve, int) and self.settle is None
        object.__setattr__(self, "fixed", fixed)

    @property
    def expressions(self) -> tuple[Expression, ...]:
        """All expressions of the amount."""
        return tuple(part for part in (self.reserve, self.items, self.settle) if isinstance(part, Expression))


@dataclass(frozen=True, slots=True, eq=False)
class Prices:
    """Amounts of one operation, and the expressions over its results.

    Attributes:
        amounts: `uses`, then `spends`, as the policy lists them.
        rows: expression of the rows of a result, for the log.
        limit: maximum number of items (`limits.items`).
        ready: for each amount its demand if it does not depend on the call, else None.
        settled: the amounts that the result prices, each with its index.
        all_ready: all demands if none depends on the call, else None.
        is_plain: True when the demands are computed without a budget of steps.
        settles_plainly: True when the settlement is.
        reads_data: True when the settlement reads the data of the result.
        reserved: the settlement of all results if none is read, else None.
        rows_of: the index of a quota that is settled by the expression of the rows.
    """

    amounts: tuple[Amount, ...]
    rows: Expression | None
    limit: int
    ready: tuple[tuple[Demand | None, Amount], ...]
    settled: tuple[tuple[int, Amount], ...]
    all_ready: tuple[Demand, ...] | None
    is_plain: bool
    settles_plainly: bool
    reads_data: bool
    reserved: SettledPrice | None
    rows_of: int | None

    @classmethod
    def of(cls, amounts: Sequence[Amount], rows: Expression | None, limit: int) -> Prices:
        """Prepare the amounts of one operation."""
        ready = tuple(_demand(each, {}, limit) if isinstance(each.reserve, int) else None for each in amounts)
        known = tuple(demand for demand in ready if demand is not None)
        early = [part for each in amounts for part in (each.reserve, each.items) if isinstance(part, Expression)]
        late = [part for amount in amounts if isinstance(part := amount.settle, Expression)]
        late += [rows] if rows is not None else []
        is_read = any(each.settle is not None for each in amounts) or rows is not None
        return cls(
            tuple(amounts),
            rows,
            limit,
            tuple(zip(ready, amounts, strict=True)),
            tuple([(index, each) for index, each in enumerate(amounts) if each.settle is not None]),
            known if len(known) == len(ready) else None,
            all(each.is_plain for each in early),
            all(each.is_bounded for each in (*late, *early)),
            any(path[0] == "data" for expression in late for path in expression.reads),
            None if is_read else SettledPrice((CHARGE_RESERVE,) * len(amounts)),
            next((index for index, each in enumerate(amounts) if _counts_rows(each, rows)), None),
        )


@record
class SettledPrice:
    """Cost of a call according to its result.

    Attributes:
        charges: one per demand of the call.
        rows: rows returned; None without a `rows` expression or a usable value.
        failures: sentences for the log, one per amount that charges its reserve because its
            `settle` expression gave no usable value.
    """

    charges: tuple[Charge, ...]
    rows: int | None = None
    failures: tuple[str, ...] = ()


def demands(prices: Prices, arguments: Mapping[str, Any], meta: object) -> tuple[Demand, ...]:
    """Compute the amounts that one call reserves.

    Raises:
        ValueRefusedError: an amount cannot be computed from these arguments.
    """
    if prices.all_ready is not None:
        return prices.all_ready
    scope = {"arguments": arguments, "meta": meta}
    steps = None
    if not prices.is_plain:
        steps = steps_over((arguments, meta), prices.limit * STEPS_BEFORE, PER_BYTE_BEFORE)
    return tuple([ready or _demand(amount, scope, prices.limit, steps) for ready, amount in prices.ready])


def charges(
    prices: Prices, reserved: Sequence[Demand], arguments: Mapping[str, Any], meta: object, result: Result
) -> SettledPrice:
    """Price a call by its result; an amount that the result cannot price charges its reserve.

    Args:
        prices: the operation's prices.
        reserved: the demands of the call's decision.
        arguments: the completed arguments of gate 4 (`Decision.arguments`), or the part of them that
            a deferred call keeps (`deferral.Context`).
        meta: the request's `params._meta`.
        result: the JSON-RPC `result`.
    """
    if prices.reserved is not None:
        return prices.reserved
    scope = {"arguments": arguments, "meta": meta, "result": result}
    if prices.reads_data:
        scope["data"] = data_of(result)
    steps = None
    if not prices.settles_plainly:
        steps = steps_over((arguments, meta, result), prices.limit * STEPS_AFTER, PER_BYTE_AFTER)
    settled = [CHARGE_RESERVE] * len(prices.amounts)
    if len(reserved) != len(settled):
        raise ValueError("these are not the demands of this operation")
    failures: list[str] = []
    for index, amount in prices.settled:
        demand = reserved[index]
        try:
            settled[index] = _charge(amount, demand, scope, prices.limit, steps)
        except ValueRefusedError as error:
            settled[index] = CHARGE_RESERVE if demand.items is None else CHARGE_UNMARKED
            failures.append(f"{amount.rule}: {error}: the reserved {amount.name} were charged")
    rows = _rows(prices.rows, scope, steps) if prices.rows_of is None else settled[prices.rows_of].amount
    return SettledPrice(tuple(settled), rows, tuple(failures))


def data_of(result: Result) -> Any:
    """Return the data of a result: `structuredContent`, else the JSON of its single text content."""
    structured = result.get("structuredContent")
    if structured is not None:
        return structured
    content = result.get("content", result.get("contents"))
    if not isinstance(content, list) or len(content) != 1 or not isinstance(content[0], dict):
        return None
    text = content[0].get("text")
    # Contents of resources have a URI instead of a type.
    kind = content[0].get("type", "text" if "uri" in content[0] else None)
    if kind != "text" or not isinstance(text, str):
        return None
    try:
        return orjson.loads(text)
    except ValueError:
        return None


def _demand(amount: Amount, scope: Scope, limit: int, steps: Steps | None = None) -> Demand:
    if amount.items is None:
        units = _units(amount.reserve, scope, steps)
        return Demand(amount.kind, amount.name, units, None, 1, amount.fixed, amount.shadow)
    items = _items(amount.items, scope, limit, steps)
    if not amount.once:
        return Demand(amount.kind, amount.name, _product(amount, len(items)), shadow=amount.shadow)
    distinct = tuple(dict.fromkeys(items))
    return Demand(
        amount.kind, amount.name, _product(amount, len(distinct)), distinct, amount.each, shadow=amount.shadow
    )


def _charge(amount: Amount, demand: Demand, scope: Scope, limit: int, steps: Steps | None) -> Charge:
    if amount.items is None:
        units = _units(amount.settle, scope, steps)
    elif not isinstance(amount.settle, Expression):  # the models refuse a number together with `items`
        return CHARGE_RESERVE
    else:
        delivered = _items(amount.settle, scope, limit, steps)
        requested = demand.items if demand.items is not None else _items(amount.items, scope, limit, steps)
        if not set(requested).issuperset(delivered):
            raise ValueRefusedError(f"`{amount.settle.text}` names items that were not requested")
        if amount.once:
            return Charge(items=tuple(dict.fromkeys(delivered)))
        units = _product(amount, len(delivered))
    # Credits cost at most the reserve; quota units count in full.
    return Charge(demand.reserve if amount.kind is _CREDIT and units > demand.reserve else units)


def _product(amount: Amount, count: int) -> int:
    units = amount.each * count
    if units > MAX_AMOUNT:
        raise ValueRefusedError(f"`{_text(amount.items)}` gives more than {MAX_AMOUNT} units of {amount.name}")
    return units


def _units(part: int | Expression | None, scope: Scope, steps: Steps | None = None) -> int:
    value: Any = part.value(scope, steps) if type(part) is Expression else part
    if type(value) is not int or not 0 <= value <= MAX_AMOUNT:
        raise ValueRefusedError(f"`{_text(part)}` must give an integer from 0 to {MAX_AMOUNT}")
    return value


_ITEM_TYPES: Final = frozenset({str, int})


def _items(expression: Expression, scope: Scope, limit: int, steps: Steps | None = None) -> list[str]:
    value = expression.value(scope, steps)
    if type(value) is list and len(value) > limit:  # before its elements are read
        raise ValueRefusedError(f"`{expression.text}` must give at most {limit} items")
    if type(value) is not list or not _ITEM_TYPES.issuperset(map(type, value)):
        raise ValueRefusedError(f"`{expression.text}` must give a list of strings or integers")
    if any(type(item) is str and len(item) > MAX_ITEM for item in value):
        raise ValueRefusedError(f"`{expression.text}` gives an item of more than {MAX_ITEM} characters")
    return [item if type(item) is str else _digits(item, expression) for item in value]


def _digits(item: int, expression: Expression) -> str:
    if not -MAX_AMOUNT <= item <= MAX_AMOUNT:
        raise ValueRefusedError(f"`{expression.text}` gives an integer beyond 2^53 - 1")
    return str(item)


def _counts_rows(amount: Amount, rows: Expression | None) -> bool:
    """Return True when the charge of an amount is the number of rows, or neither is known."""
    is_number = amount.kind is AmountKind.QUOTA and amount.items is None
    return rows is not None and is_number and isinstance(amount.settle, Expression) and amount.settle.text == rows.text


def _rows(expression: Expression | None, scope: Scope, steps: Steps | None) -> int | None:
    if expression is None:
        return None
    try:
        return _units(expression, scope, steps)
    except ValueRefusedError:
        return None


def _text(part: int | Expression | None) -> str:
    return part.text if isinstance(part, Expression) else str(part or "")
