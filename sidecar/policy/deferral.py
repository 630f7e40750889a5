"""What pricing a response needs when it comes on another stream, perhaps to another process: written beside the hold.

Of the arguments only those stay that the prices read when they are settled, because the rest is nobody's
business once the call was forwarded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from sidecar.model import AmountKind, Demand
from sidecar.policy.expressions import Expression, ValueRefusedError
from sidecar.policy.pricing import Prices, Settlement, charges
from sidecar.policy.rules import Operation

Values = Mapping[str, Any]

_NOTHING: Final[Values] = {}


@dataclass(frozen=True, slots=True)
class Context:
    """A forwarded call, as far as its price depends on it.

    Attributes:
        operation: the declared name; empty when it has none.
        arguments: those that settling reads; `meta` likewise.
        demands: as they were reserved.
        credits: reserved credits per pool.
    """

    operation: str = ""
    arguments: Values = field(default_factory=dict)
    meta: Values = field(default_factory=dict)
    demands: tuple[Demand, ...] = ()
    credits: Mapping[str, int] = field(default_factory=dict)


def write(
    operation: Operation | None, arguments: Values, meta: object, demands: Sequence[Demand], credits: Mapping[str, int]
) -> bytes:
    """What `read` gives back; arguments as of `Context`."""
    prices = None if operation is None else operation.prices
    document = {
        "operation": "" if operation is None else operation.name,
        "arguments": _kept(prices, "arguments", arguments),
        "meta": _kept(prices, "meta", meta if isinstance(meta, dict) else _NOTHING),
        "demands": [(d.kind, d.name, d.reserve, d.items, d.each, d.fixed) for d in demands],
        "credits": dict(credits),
    }
    return orjson.dumps(document)


def read(data: bytes) -> Context | None:
    """What was written; None when it cannot be understood (another version wrote it)."""
    try:
        document = orjson.loads(data)
        demands = tuple(
            Demand(AmountKind(kind), name, reserve, None if items is None else tuple(items), each, fixed)
            for kind, name, reserve, items, each, fixed in document["demands"]
        )
        return Context(document["operation"], document["arguments"], document["meta"], demands, document["credits"])
    except (ValueError, TypeError, LookupError):
        return None


def settled(operation: Operation | None, context: Context, result: Values) -> Settlement | None:
    """What the result says the call cost; None when the policy has changed too much to say: then the reserve is due."""
    if operation is None or len(operation.prices.amounts) != len(context.demands):
        return None
    pairs = zip(operation.prices.amounts, context.demands, strict=True)
    if any((amount.kind, amount.name) != (demand.kind, demand.name) for amount, demand in pairs):
        return None
    try:
        return charges(operation.prices, context.demands, context.arguments, context.meta, dict(result))
    except ValueRefusedError:
        return None


def _kept(prices: Prices | None, root: str, values: Values) -> Values:
    if prices is None:
        return _NOTHING
    expressions = [part for amount in prices.amounts for part in (amount.items, amount.settle)]
    paths = [path for part in (*expressions, prices.rows) if isinstance(part, Expression) for path in part.reads]
    read_here = [path for path in paths if path[0] == root]
    if any(len(path) == 1 for path in read_here):
        return values
    return {name: values[name] for name in {str(path[1]) for path in read_here} if name in values}
