"""The compiled policy: immutable, and everything that a call needs prepared when it was loaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from sidecar.model import ConsentMode, OnUnknown, Terms, Window
from sidecar.policy.arguments import ArgumentRules
from sidecar.policy.models import TestDocument
from sidecar.policy.names import Names
from sidecar.policy.patterns import Patterns
from sidecar.policy.pricing import Prices
from sidecar.policy.scopes import ScopeTree


@dataclass(frozen=True, slots=True)
class Confirm:
    """The argument that must be true before a call may run.

    Attributes:
        message: what people and models read when it is missing.
        inject: the backend does not know the argument: it is listed by the sidecar and removed
            before forwarding.
        rule: `file:line`.
    """

    argument: str
    message: str
    inject: bool
    rule: str


class Kind(StrEnum):
    """What can be declared; plans narrow all but methods."""

    TOOL = "tool"
    RESOURCE = "resource"
    PROMPT = "prompt"
    METHOD = "method"

    @property
    def section(self) -> str:
        """The section of the policy that declares it."""
        return f"{self.value}s"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Operation:
    """One declared operation: a tool, a resource pattern, a prompt or a method.

    Attributes:
        kind: which of these.
        name: the key under which it is declared.
        scopes: what a token must grant, as declared.
        scopes_rule: `file:line` of the scopes.
        terms: what gates 5-7 are told.
        unscoped_terms: the same without scopes, for a look on behalf of a token that lacks one:
            the token's own lack is answered, not the consent's.
        meta: names that expressions read of the request's `_meta`; None when they read none.
        charge_errors: whether a result with `isError` costs what it says.
        timeout: seconds; None takes the backend's.
        rule: `file:line`.
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


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Tool(Operation):
    """One declared tool.

    Attributes:
        arguments_rule: `file:line` of the argument rules.
        serve: `usage` when the sidecar answers itself.
    """

    arguments: ArgumentRules
    arguments_rule: str
    confirm: Confirm | None = None
    serve: str | None = None


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Resource(Operation):
    """The resources of one URI pattern.

    Attributes:
        watching: the same for subscribing and unsubscribing: nothing is delivered, so only what is fixed
            is used and nothing spent.
    """

    watching: Operation


@dataclass(frozen=True, slots=True)
class Listing:
    """Whether `tools/list` hides tools that the caller cannot call."""

    hide_missing_scope: bool = False
    hide_missing_plan: bool = True


@dataclass(frozen=True, slots=True)
class Plan:
    """One plan, with the policy's quotas merged in.

    Attributes:
        narrowed: for each section that it narrows, the names it includes.
        quotas: limit per quota and window.
        credits: window and included credits per pool.
    """

    name: str
    narrowed: Mapping[str, frozenset[str]]
    quotas: Mapping[str, Mapping[Window, int]]
    credits: Mapping[str, tuple[Window, int]]
    rule: str

    def includes(self, kind: Kind, name: str) -> bool:
        """Whether the plan allows something declared."""
        included = self.narrowed.get(kind.section)
        return included is None or name in included


@dataclass(frozen=True, slots=True)
class PolicyTest:
    """One of the policy's own tests, and the `file:line` where it stands."""

    rule: str
    test: TestDocument


@dataclass(frozen=True, slots=True, eq=False)
class Policy:
    """Everything the policy files say.

    Attributes:
        revision: changes whenever the meaning of the files may have.
        scopes: the declared scopes and what they imply.
        base_scopes: named by the first challenge, before an operation is known.
        quotas: limits of accounts without a plan of their own.
        credits: description per pool.
        plans: None when the policy has none.
        open_terms: for allowed methods without a price: consent and status only.
        account_terms: with every quota and pool, for what `serve: usage` and `usage` show.
        windows: the window of included credits per pool, the same in all plans.
        resources: by URI pattern, as declared; `prompts` and `methods` by name.
        patterns: of the resources, to be held against URIs; see `resources`.
        tests: the policy's own tests, as `workbench.testing` reads them.
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

    @property
    def scope_names(self) -> tuple[str, ...]:
        """All declared scopes in the order of the files, for the metadata's `scopes_supported`."""
        return tuple(self.scopes.rules)

    def expand(self, scopes: Iterable[str]) -> frozenset[str]:
        """The scopes and all that they imply."""
        return self.scopes.expand(scopes)

    def effective(self, token: Iterable[str], consent: Iterable[str] | None) -> frozenset[str]:
        """The scopes that count: the token's, narrowed to the consent record's if it lists any.

        Both sides are expanded before they are intersected: a consent to the wider scope covers a
        token with the implied one.
        """
        granted = self.expand(token)
        return granted if consent is None else granted & self.expand(consent)

    def listed(self, name: str, scopes: frozenset[str], plan: str | None) -> bool:
        """Whether `tools/list` shows a declared tool to a caller.

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
        """Whether an account's plan includes something declared; without plans, everything is.

        Args:
            kind: what it is.
            name: the key under which it is declared.
            plan: the account's current plan, if the policy has plans.
        """
        if self.plans is None:
            return True
        terms = self.plans.get(plan) if plan is not None else None
        return terms is not None and terms.includes(kind, name)

    @property
    def operations(self) -> Iterator[Operation]:
        """Everything that is declared, section by section."""
        for section in (self.tools, self.resources, self.prompts, self.methods):
            yield from section.values()
