"""Compiled policy: immutable, with everything that a call needs prepared at load time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sidecar.model import AdmissionCode, AdmissionReply, OnUnknown
from sidecar.policy.arguments import ArgumentRules
from sidecar.policy.confirming.confirm_rule import Confirm
from sidecar.policy.language.case_models import TestDocument
from sidecar.policy.names import Names
from sidecar.policy.patterns import Patterns
from sidecar.policy.pricing import Prices
from sidecar.policy.scopes import ScopeTree
from sidecar.policy.serving.own_tools import OwnTool
from sidecar.protocol.capabilities import SECTIONS, Served
from sidecar.terms import ConsentMode, Terms
from sidecar.vocabulary import TextEnum, record
from sidecar.window_rules import Window

_APPROVALS: Final = frozenset(
    {AdmissionCode.APPROVAL_NEEDED, AdmissionCode.APPROVAL_UNKNOWN, AdmissionCode.APPROVAL_DECLINED}
)


class Kind(TextEnum):
    """Kinds of operations; plans narrow all but methods."""

    TOOL = "tool"
    RESOURCE = "resource"
    PROMPT = "prompt"
    METHOD = "method"

    @property
    def section(self) -> str:
        """Section of the policy that declares this kind."""
        return f"{self.value}s"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Operation:
    """Declared operation: a tool, a resource pattern, a prompt or a method.

    Attributes:
        kind: one of these.
        name: the key under which it is declared.
        scopes: scopes that a token must grant, as declared.
        scopes_rule: `file:line` of the scopes.
        terms: input of gates 5-7.
        unscoped_terms: the terms without scopes, for a token that lacks one: the answer names the
            token's missing scope and not the consent's.
        meta: names that expressions read in the request's `_meta`; None when they read none.
        charge_errors: True when a result with `isError` is charged as any other.
        timeout: seconds; None takes the backend's.
        rule: `file:line`.
        subject: this operation as the only one that a call names.
    """

    kind: Kind
    name: str
    scopes: tuple[str, ...]
    prices: Prices
    terms: Terms
    unscoped_terms: Terms
    rule: str
    scopes_rule: str
    meta: Names | None = None
    charge_errors: bool = False
    on_unknown: OnUnknown = OnUnknown.RELEASE
    timeout: float | None = None
    subject: Subject = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "subject", Subject(self, (), self.scopes, self.terms, self.unscoped_terms))


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Tool(Operation):
    """Declared tool.

    Attributes:
        arguments_rule: `file:line` of the argument rules.
        serve: kind of the answer, when the sidecar answers the tool itself.
        pin: digest of the backend's definition that was approved; None accepts any.
        has_shadow: True when a rule that gate 4 evaluates is in shadow mode.
    """

    arguments: ArgumentRules
    arguments_rule: str
    confirm: Confirm | None = None
    serve: OwnTool | None = None
    pin: str | None = None
    has_shadow: bool = field(init=False)

    def __post_init__(self) -> None:
        Operation.__post_init__(self)
        has_shadow = self.arguments.shadow is not None or (self.confirm is not None and self.confirm.shadow)
        object.__setattr__(self, "has_shadow", has_shadow)

    @property
    def injected(self) -> Confirm | None:
        """Confirmation that the sidecar adds to listings and removes before forwarding; none in shadow mode."""
        confirm = self.confirm
        return confirm if confirm is not None and confirm.inject and not confirm.shadow else None


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Resource(Operation):
    """Resources of one URI pattern.

    Attributes:
        watching: the operation for subscribe and unsubscribe: they deliver nothing, so they consume fixed
            quota units only and no credits.
    """

    watching: Operation


@record
class Subject:
    """Declared operations that a call names.

    Attributes:
        operation: the operation that sets the price.
        related: operations with scopes and plans that apply too: the prompt or the resources of a
            completion, the resources of a subscription.
        scopes: scopes of all operations, as declared.
        terms: input of gates 5-7.
        unscoped_terms: the terms without scopes, for a token that lacks one.
    """

    operation: Operation
    related: tuple[Operation, ...]
    scopes: tuple[str, ...]
    terms: Terms
    unscoped_terms: Terms

    @property
    def named(self) -> tuple[Operation, ...]:
        """All operations, the priced one first."""
        return (self.operation, *self.related)


@dataclass(frozen=True, slots=True)
class Listing:
    """Tools that `tools/list` hides from a caller that cannot call them, and the schemas of those that it shows."""

    hide_missing_scope: bool = False
    hide_missing_plan: bool = True
    narrow: bool = True


@dataclass(frozen=True, slots=True)
class Plan:
    """Plan with the policy's quotas merged in.

    Attributes:
        narrowed: for each section that it narrows, the names that it includes.
        quotas: limit per quota and window.
        credits: window and included credits per pool.
        shadow: `file:line` of its tool list in shadow mode; None for an enforced list.
    """

    name: str
    narrowed: Mapping[str, frozenset[str]]
    quotas: Mapping[str, Mapping[Window, int]]
    credits: Mapping[str, tuple[Window, int]]
    rule: str
    shadow: str | None = None

    def includes(self, kind: Kind, name: str) -> bool:
        """Return True when the plan includes a declared operation; a tool list in shadow mode includes every tool."""
        return (self.shadow is not None and kind is Kind.TOOL) or self._lists(kind, name)

    def shadow_rule(self, kind: Kind, name: str) -> str | None:
        """Return `file:line` of a tool list in shadow mode that leaves a tool out; None for any other operation."""
        return self.shadow if kind is Kind.TOOL and not self._lists(kind, name) else None

    def _lists(self, kind: Kind, name: str) -> bool:
        included = self.narrowed.get(kind.section)
        return included is None or name in included


@dataclass(frozen=True, slots=True)
class PolicyTest:
    """One of the policy's own tests, with its `file:line` and that of each of its `steps`."""

    rule: str
    test: TestDocument
    steps: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Policy:
    """Content of the policy files.

    Attributes:
        revision: digest that changes when the meaning of the files may have changed.
        scopes: the declared scopes and the scopes that they imply.
        base_scopes: scopes of the first challenge, before an operation is known.
        quotas: limits of accounts without a plan of their own.
        shadow_quotas: `file:line` of each quota in shadow mode: it is counted and refuses nothing.
        credits: description per pool.
        plans: None when the policy has none.
        open_terms: for allowed methods without a price: consent and status only.
        account_terms: with every quota and pool, for `serve: usage` and the command `usage`.
        windows: the window of included credits per pool, the same in all plans.
        resources: by URI pattern, as declared; `prompts` and `methods` by name.
        patterns: patterns of the resources, matched against URIs.
        tests: the policy's own tests, as `workbench.testing` reads them.
        declared: the policy as its files declare it, for comparisons.
        serve_changed: True when tools that differ from their pin are served and logged (`pin_mismatch: warn`).
    """

    revision: str
    scopes: ScopeTree
    base_scopes: tuple[str, ...]
    consent: ConsentMode
    manage_url: str | None
    listing: Listing
    quotas: Mapping[str, Mapping[Window, int]]
    credits: Mapping[str, str]
    default_plan: str | None
    plans: Mapping[str, Plan] | None
    tools: Mapping[str, Tool]
    open_terms: Terms
    account_terms: Terms
    windows: Mapping[str, Window] = field(default_factory=dict)
    resources: Mapping[str, Resource] = field(default_factory=dict)
    patterns: Patterns = field(default_factory=Patterns)
    prompts: Mapping[str, Operation] = field(default_factory=dict)
    methods: Mapping[str, Operation] = field(default_factory=dict)
    tests: tuple[PolicyTest, ...] = ()
    declared: Mapping[str, Any] = field(default_factory=dict)
    serve_changed: bool = False
    shadow_quotas: Mapping[str, str] = field(default_factory=dict)

    @property
    def scope_names(self) -> tuple[str, ...]:
        """Declared scopes in the order of the files, for the metadata's `scopes_supported`."""
        return tuple(self.scopes.rules)

    def expand(self, scopes: Iterable[str]) -> frozenset[str]:
        """Return the scopes and all that they imply."""
        return self.scopes.expand(scopes)

    def effective(self, token: Iterable[str], consent: Iterable[str] | None) -> frozenset[str]:
        """Return the effective scopes: the token's, narrowed to the consent record's if it lists any.

        Both sides are expanded before they are intersected: a consent to the wider scope covers a
        token with the implied one.
        """
        granted = self.scopes.expand(token)
        return granted if consent is None else granted & self.scopes.expand(consent)

    def listed(self, name: str, scopes: frozenset[str], plan: str | None) -> bool:
        """Return True when `tools/list` shows a declared tool to a caller.

        Args:
            name: the tool.
            scopes: the caller's effective scopes.
            plan: the account's current plan, if the policy has plans.
        """
        tool = self.tools.get(name)
        if tool is None or (self.listing.hide_missing_scope and not scopes.issuperset(tool.scopes)):
            return False
        return not self.listing.hide_missing_plan or self.included(Kind.TOOL, name, plan)

    def included(self, kind: Kind, name: str, plan: str | None) -> bool:
        """Return True when an account's plan includes a declared operation; always True without plans.

        Args:
            kind: the kind of the operation.
            name: the key under which it is declared.
            plan: the account's current plan, if the policy has plans.
        """
        if self.plans is None:
            return True
        terms = self.plans.get(plan) if plan is not None else None
        return terms is not None and terms.includes(kind, name)

    def refusing_rule(self, operation: Operation | None, admission: AdmissionReply) -> str | None:
        """Return `file:line` of the amount or plan by which gates 5-7 refuse a call; None where no line does."""
        if admission.refused is not None and operation is not None:
            amounts = operation.prices.amounts
            return amounts[admission.refused].rule if admission.refused < len(amounts) else None
        if admission.code is AdmissionCode.PLAN_REQUIRED and admission.plan is not None:
            plan = (self.plans or {}).get(admission.plan)
            return None if plan is None else plan.rule
        if admission.code is AdmissionCode.CONSENT_SCOPES and operation is not None:
            return operation.scopes_rule
        if admission.code in _APPROVALS and isinstance(operation, Tool) and operation.confirm is not None:
            return operation.confirm.rule
        return None

    @property
    def served(self) -> Served:
        """Sections that capabilities may announce."""
        return Served(self.methods, frozenset(name for name in SECTIONS if getattr(self, name)))

    @property
    def operations(self) -> Iterator[Operation]:
        """All declared operations, section by section."""
        for section in (self.tools, self.resources, self.prompts, self.methods):
            yield from section.values()
