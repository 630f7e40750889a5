"""What pricing a response needs when it comes on another stream, perhaps to another process: written beside the hold.

Of the arguments only those stay that the prices read when they are settled, because the rest is nobody's
business once the call was forwarded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from sidecar.model import AmountKind, Demand
from sidecar.policy.expressions import Expression, ValueRefusedError
from sidecar.policy.pricing import Prices, Settlement, charges
from sidecar.policy.rules import Operation, Policy

Values = Mapping[str, Any]

EMPTY: Final = b"{}"
"""For a call without an operation: nothing is known that could price it."""

_NOTHING: Final[Values] = {}


@dataclass(frozen=True, slots=True)
class Context:
    """A forwarded call, as far as its price depends on it.

    Attributes:
        kind: with `name`, which operation it is.
        arguments: those that settling reads; `meta` likewise.
        demands: as they were reserved.
        credits: reserved credits per pool.
    """

    kind: str = ""
    name: str = ""
    arguments: Values = field(default_factory=dict)
    meta: Values = field(default_factory=dict)
    demands: tuple[Demand, ...] = ()
    credits: Mapping[str, int] = field(default_factory=dict)


def write(
    operation: Operation, arguments: Values, meta: object, demands: Sequence[Demand], credits: Mapping[str, int]
) -> bytes:
    """What `read` gives back; arguments as of `Context`."""
    document = {
        "kind": operation.kind,
        "name": operation.name,
        "arguments": _kept(operation.prices, "arguments", arguments),
        "meta": _kept(operation.prices, "meta", meta if isinstance(meta, dict) else _NOTHING),
        "demands": [(d.kind, d.name, d.reserve, d.items, d.each, d.fixed) for d in demands],
        "credits": dict(credits),
    }
    try:
        return orjson.dumps(document)
    except orjson.JSONEncodeError:  # a client's integers may have more than 64 bits
        return json.dumps(document).encode()


def read(data: bytes) -> Context | None:
    """What was written; None when it cannot be understood (another version wrote it)."""
    try:
        document = orjson.loads(data)
        demands = tuple(
            Demand(AmountKind(kind), name, reserve, None if items is None else tuple(items), each, fixed)
            for kind, name, reserve, items, each, fixed in document["demands"]
        )
        kind, name, arguments, meta = (document[key] for key in ("kind", "name", "arguments", "meta"))
        return Context(kind, name, arguments, meta, demands, document["credits"])
    except (ValueError, TypeError, LookupError):
        return None


def operation_of(policy: Policy, context: Context) -> Operation | None:
    """The operation that the policy in force declares under that name; None when it does not any more."""
    return next((each for each in policy.operations if (each.kind, each.name) == (context.kind, context.name)), None)


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


def _kept(prices: Prices, root: str, values: Values) -> Values:
    expressions = [part for amount in prices.amounts for part in (amount.items, amount.settle)]
    paths = [path for part in (*expressions, prices.rows) if isinstance(part, Expression) for path in part.reads]
    read_here = [path for path in paths if path[0] == root]
    if any(len(path) == 1 for path in read_here):
        return values
    return {name: values[name] for name in {str(path[1]) for path in read_here} if name in values}
