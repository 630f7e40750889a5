"""Protections that a new policy takes from a tool that stays: a confirmation, a price, its last test.

A mistake in an edit, or a file that is only half written, must not take these away without a person's word.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sidecar.approval import ConfirmBy
from sidecar.model import AmountKind
from sidecar.policy.confirming.confirm_rule import Confirm
from sidecar.policy.pricing import Amount
from sidecar.policy.rules import Kind, Operation, Policy


def weakenings(before: Policy, after: Policy) -> Iterator[str]:
    """Yield a sentence for each protection that an operation of both policies has lost."""
    kept = {(each.kind, each.name): each for each in after.operations}
    confirmed, still_confirmed = _confirmed(before), _confirmed(after)
    tested, still = tested_tools(before), tested_tools(after)
    for old in before.operations:
        new = kept.get((old.kind, old.name))
        if new is None:
            continue
        named = f"{old.kind.value} {old.name}"
        is_tool = old.kind is Kind.TOOL
        if is_tool and old.name in confirmed and old.name not in still_confirmed:
            yield f"{named} loses its confirmation ({new.rule})"
        elif is_tool and old.name in confirmed:
            yield from _weaker_confirmations(named, before.tools[old.name].confirm, after.tools[old.name].confirm)
        for amount in sorted(_prices(before, old) - _prices(after, new)):
            yield f"{named} loses its price in {amount} ({new.rule})"
        if is_tool and old.name in tested and old.name not in still:
            yield f"{named} loses its last test ({new.rule})"


def _weaker_confirmations(named: str, old: Confirm | None, new: Confirm | None) -> Iterator[str]:
    if old is None or new is None or not old.asks_person:
        return
    if not new.asks_person:
        yield f"{named} is confirmed by an argument, and no longer by a person ({new.rule})"
    elif new.argument is not None and old.argument is None:
        yield f"{named} is confirmed by an argument for clients that cannot ask a person ({new.rule})"
    if old.by is ConfirmBy.PAGE and new.by is ConfirmBy.PERSON:
        yield f"{named} is confirmed in the client, and no longer on the account page ({new.rule})"


def tested_tools(policy: Policy) -> frozenset[str]:
    """Return the names of the tools that the policy's own tests call."""
    return frozenset[str]().union(*(test.test.tools for test in policy.tests))


def _confirmed(policy: Policy) -> frozenset[str]:
    """Return the names of the tools that need a confirmation; one in shadow mode is none."""
    declared = policy.declared.get("tools") or {}
    asked = (name for name, tool in policy.tools.items() if tool.confirm is not None)
    return frozenset(name for name in asked if not _is_shadow(declared[name].get("confirm")))


def _prices(policy: Policy, operation: Operation) -> frozenset[str]:
    """Return the quotas and pools that a call is charged in, with the word for each; a shadow quota limits nothing."""
    quotas = policy.declared.get("quotas") or {}
    charged = (each for each in operation.prices.amounts if _charges(each))
    enforced = (each for each in charged if each.kind is AmountKind.CREDIT or not _is_shadow(quotas.get(each.name)))
    return frozenset(f"{each.kind.value} {each.name}" for each in enforced)


def _is_shadow(declared: object) -> bool:
    return isinstance(declared, Mapping) and declared.get("mode") == "shadow"


def _charges(amount: Amount) -> bool:
    return amount.items is not None or amount.settle is not None or amount.reserve != 0
