"""What is allowed and probably not meant: warnings for the author of a policy. Pure.

Each says what will happen and what to write instead. There are few, because a list that is long on a
sound policy is a list that nobody reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from sidecar.model import ConsentMode
from sidecar.policy.rules import Policy, Tool

_COMPLETE: Final = "completion/complete"
# A wildcard before the end of the host, in the schemes whose hosts are machines.
_AUTHORITY: Final = re.compile(r"(?:https?|wss?|ftp)://[^/?#]*\*", re.IGNORECASE)
_PROBE: Final = "mcp-policy-sidecar probe"
# Kinds of errors by which a schema says that it does not know a key.
_CLOSED: Final = frozenset({"additionalProperties", "unevaluatedProperties", "propertyNames", "falseSchema"})


@dataclass(frozen=True, slots=True)
class Notice:
    """Something to think about.

    Attributes:
        rule: `file:line`; empty when it is about the policy as a whole.
        text: what will happen, and what to write if it is not meant.
    """

    rule: str
    text: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.text}" if self.rule else self.text


def lint(policy: Policy) -> tuple[Notice, ...]:
    """All warnings about a policy that loads."""
    return (*_whole(policy), *_names(policy), *_plans(policy), *_tools(policy), *_resources(policy), *_methods(policy))


def _whole(policy: Policy) -> Iterator[Notice]:
    if not any(policy.operations):
        yield Notice("", "no tool, resource, prompt or method is declared, so clients can do nothing")
    if policy.consent is ConsentMode.FIRST_USE:
        yield Notice("", "consent: first_use lets in every client that brings a valid token, without an approval")
    if policy.plans is not None and policy.default_plan is None:
        yield Notice("", "there are plans and no default_plan: accounts that the store does not know are refused")


def _names(policy: Policy) -> Iterator[Notice]:
    needed = {granting for operation in policy.operations for each in operation.terms.scopes for granting in each}
    for scope in policy.scope_names:
        if scope not in needed:
            yield Notice("", f"scope {scope!r} opens nothing")
    used = {amount.name for operation in policy.operations for amount in operation.prices.amounts}
    for quota in policy.quotas:
        if quota not in used:
            yield Notice("", f"quota {quota!r} limits nothing: nothing uses it")
    for pool in policy.credits:
        if pool not in used:
            yield Notice("", f"credits {pool!r} pay for nothing: nothing spends them")


def _plans(policy: Policy) -> Iterator[Notice]:
    for each in policy.operations:
        if policy.plans and not any(plan.includes(each.kind, each.name) for plan in policy.plans.values()):
            yield Notice(each.rule, f"no plan includes {each.name}, so every call of it is refused")


def _tools(policy: Policy) -> Iterator[Notice]:
    for tool in policy.tools.values():
        if _priced(tool) and not _closed(tool):
            yield Notice(
                tool.rule,
                f"{tool.name} is priced and takes arguments that are not declared, which may change what a call "
                "costs the backend; declare them all in arguments and add additionalProperties: false",
            )


def _resources(policy: Policy) -> Iterator[Notice]:
    for name, resource in policy.resources.items():
        if _AUTHORITY.match(name):
            yield Notice(
                resource.rule,
                f"the * in the host of {name} stands for any characters, also for another host and a path; "
                "name the host in full",
            )


def _methods(policy: Policy) -> Iterator[Notice]:
    completing = policy.methods.get(_COMPLETE)
    if completing is not None and not policy.prompts and not policy.resources:
        yield Notice(completing.rule, "neither prompts nor resources are declared, so every completion is refused")


def _priced(tool: Tool) -> bool:
    """Whether a call costs more than a fixed number of quota units."""
    return any(not amount.fixed for amount in tool.prices.amounts)


def _closed(tool: Tool) -> bool:
    validator = tool.arguments.validator
    return validator is not None and any(error.kind.name in _CLOSED for error in validator.iter_errors({_PROBE: None}))
