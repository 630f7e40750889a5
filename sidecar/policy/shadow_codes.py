"""Codes with which the rules in shadow mode of a policy would refuse, for counters that start at 0."""

from __future__ import annotations

from collections.abc import Iterator

from sidecar.errors import ErrorCode
from sidecar.policy.rules import Operation, Policy, Tool


def shadow_codes(policy: Policy) -> Iterator[tuple[str, str, str]]:
    """Yield each tool with each code and quota; operations that are no tools have the empty name, as in all metrics."""
    found = {
        (each.name if isinstance(each, Tool) else "", code.id, quota)
        for each in policy.operations
        for code, quota in _of(each)
    }
    yield from sorted(found)


def _of(operation: Operation) -> Iterator[tuple[ErrorCode, str]]:
    if isinstance(operation, Tool):
        if operation.arguments.shadow is not None:
            yield ErrorCode.ARGUMENTS_REFUSED, ""
            yield ErrorCode.PARAMS_MALFORMED, ""
        if operation.confirm is not None and operation.confirm.shadow:
            yield ErrorCode.CONFIRMATION_REQUIRED, ""
    for amount in operation.prices.amounts:
        if amount.shadow is not None:
            yield ErrorCode.QUOTA_EXCEEDED, amount.name
    if any(terms.shadow is not None for terms in (operation.terms.plans or {}).values()):
        yield ErrorCode.PLAN_REQUIRED, ""
