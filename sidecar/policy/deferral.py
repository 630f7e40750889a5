"""Context that prices a response on another stream, perhaps in another process; stored with the hold.

The context keeps only the arguments that the settlement of the prices reads: the sidecar does not store others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from sidecar.model import AmountKind, Demand
from sidecar.policy.expressions.expressions import Expression, ValueRefusedError
from sidecar.policy.pricing import Prices, SettledPrice, charges
from sidecar.policy.rules import Operation, Policy

Values = Mapping[str, Any]

EMPTY: Final = b"{}"
"""Context of a call without an operation, which has no price."""

_NOTHING: Final[Values] = {}


@dataclass(frozen=True, slots=True)
class Context:
    """Parts of a forwarded call that its price depends on.

    Attributes:
        kind: with `name`, the operation.
        arguments: those that the settlement reads; `meta` likewise.
        demands: the reserved demands.
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
    """Encode the context of a call for `read`; the arguments are those of `Context`."""
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
    """Decode a context; None for data of another version."""
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
    """Return the operation of that name in the current policy; None when the policy no longer declares it."""
    return next((each for each in policy.operations if (each.kind, each.name) == (context.kind, context.name)), None)


def settled(operation: Operation | None, context: Context, result: Values) -> SettledPrice | None:
    """Price a result; None when the policy has changed too much to price it, so that the reserve is charged."""
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
