"""Codes with which the rules in shadow mode of a policy would refuse, for counters that start at 0."""

from __future__ import annotations

from collections.abc import Iterator

from sidecar.errors import ErrorCode
from sidecar.policy.rules import Operation, Policy, Tool


def shadow_codes(policy: Policy) -> Iterator[tuple[str, str]]:
    """Yield each tool with each code; operations that are no tools have the empty name, as in all metrics."""
    found = {(each.name if isinstance(each, Tool) else "", code.id) for each in policy.operations for code in _of(each)}
    yield from sorted(found)


def _of(operation: Operation) -> Iterator[ErrorCode]:
    if isinstance(operation, Tool):
        if operation.arguments.shadow is not None:
            yield from (ErrorCode.ARGUMENTS_REFUSED, ErrorCode.PARAMS_MALFORMED)
        if operation.confirm is not None and operation.confirm.shadow:
            yield ErrorCode.CONFIRMATION_REQUIRED
    if any(amount.shadow is not None for amount in operation.prices.amounts):
        yield ErrorCode.QUOTA_EXCEEDED
    if any(terms.shadow is not None for terms in (operation.terms.plans or {}).values()):
        yield ErrorCode.PLAN_REQUIRED
