"""Warnings about valid but probably unintended rules, for the author of a policy. Pure.

Each warning names the effect and the alternative. There are few, because authors ignore a checker that
warns about sound policies.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

from sidecar.config.documents.merging import Document
from sidecar.policy.rules import Policy, Tool
from sidecar.terms import ConsentMode

_COMPLETE: Final = "completion/complete"
# A wildcard within the host, in schemes with network hosts.
_AUTHORITY: Final = re.compile(r"(?:https?|wss?|ftp)://[^/?#]*\*", re.IGNORECASE)
_PROBE: Final = "mcp-policy-sidecar probe"
# Kinds of errors by which a schema rejects an unknown key.
_CLOSED: Final = frozenset({"additionalProperties", "unevaluatedProperties", "propertyNames", "falseSchema"})


@dataclass(frozen=True, slots=True)
class Notice:
    """Warning of `check`.

    Attributes:
        rule: `file:line`.
        text: the effect, and the alternative if it is unintended.
    """

    rule: str
    text: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.text}" if self.rule else self.text


def lint(policy: Policy, granted: Collection[str], document: Document) -> tuple[Notice, ...]:
    """Return all warnings about a valid policy.

    Args:
        policy: the policy.
        granted: scopes that the config grants, which no client requests.
        document: the merged document of the policy, for the positions.
    """
    return (
        *_whole(policy, document),
        *_names(policy, document),
        *_base_scopes(policy, granted),
        *_plans(policy),
        *_tools(policy),
        *_resources(policy),
        *_methods(policy),
    )


def _whole(policy: Policy, document: Document) -> Iterator[Notice]:
    if not any(policy.operations):
        yield Notice(
            document.rule(("tools",)), "no tool, resource, prompt or method is declared, so clients can do nothing"
        )
    if policy.consent is ConsentMode.FIRST_USE:
        yield Notice(
            document.rule(("consent",)),
            "consent: first_use admits every client with a valid token, without an approval",
        )
    if policy.plans is not None and policy.default_plan is None:
        says = "there are plans and no default_plan: accounts without a record in the store are refused"
        yield Notice(document.rule(("plans",)), says)


def _names(policy: Policy, document: Document) -> Iterator[Notice]:
    needed = {granting for operation in policy.operations for each in operation.terms.scopes for granting in each}
    for scope in policy.scope_names:
        if scope not in needed:
            yield Notice(document.rule(("scopes", scope)), f"scope {scope!r} opens nothing")
    used = {amount.name for operation in policy.operations for amount in operation.prices.amounts}
    for quota in policy.quotas:
        if quota not in used:
            yield Notice(document.rule(("quotas", quota)), f"quota {quota!r} limits nothing: nothing uses it")
    for pool in policy.credits:
        if pool not in used:
            yield Notice(document.rule(("credits", pool)), f"credits {pool!r} pay for nothing: nothing spends them")


def _base_scopes(policy: Policy, granted: Collection[str]) -> Iterator[Notice]:
    """Warn of scopes that no first login requests; without base scopes, clients request all that are published."""
    if not policy.base_scopes:
        return
    requested = {*policy.expand(policy.base_scopes), *granted}
    for operation in policy.operations:
        for scope in operation.scopes:
            if scope not in requested:
                requested.add(scope)
                yield Notice(
                    operation.scopes_rule,
                    f"base_scopes leaves out {scope!r}, which {operation.name} needs: an authorization server that "
                    "holds clients to the scopes that they registered with refuses to add it later (invalid_scope); "
                    "list it in base_scopes, unless yours adds scopes",
                )


def _plans(policy: Policy) -> Iterator[Notice]:
    for each in policy.operations:
        if policy.plans and not any(plan.includes(each.kind, each.name) for plan in policy.plans.values()):
            yield Notice(each.rule, f"no plan includes {each.name}, so every call of it is refused")


def _tools(policy: Policy) -> Iterator[Notice]:
    for tool in policy.tools.values():
        if _priced(tool) and not is_closed(tool):
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
    """Return True when a call costs more than a fixed number of quota units."""
    return any(not amount.fixed for amount in tool.prices.amounts)


def is_closed(tool: Tool) -> bool:
    """Return True when a tool accepts declared arguments only."""
    validator = tool.arguments.validator
    return validator is not None and any(error.kind.name in _CLOSED for error in validator.iter_errors({_PROBE: None}))
