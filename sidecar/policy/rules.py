"""The compiled policy: immutable, and everything that a call needs prepared when it was loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sidecar.model import ConsentMode, OnUnknown, Terms, Window
from sidecar.policy.arguments import ArgumentRules
from sidecar.policy.models import TestDocument
from sidecar.policy.names import Names
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


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Operation:
    """One declared operation: a tool, a resource pattern, a prompt or a method.

    Attributes:
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


@dataclass(frozen=True, slots=True)
class Listing:
    """Whether `tools/list` hides tools that the caller cannot call."""

    hide_missing_scope: bool = False
    hide_missing_plan: bool = True


@dataclass(frozen=True, slots=True)
class Plan:
    """One plan, with the policy's quotas merged in.

    Attributes:
        tools: the tools it includes; None for all.
        quotas: limit per quota and window.
        credits: window and included credits per pool.
    """

    name: str
    tools: frozenset[str] | None
    quotas: Mapping[str, Mapping[Window, int]]
    credits: Mapping[str, tuple[Window, int]]
    rule: str

    def includes(self, tool: str) -> bool:
        """Whether the plan allows a declared tool."""
        return self.tools is None or tool in self.tools


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
    resources: Mapping[str, Operation] = field(default_factory=dict)
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
        if self.plans is None or not self.listing.hide_missing_plan:
            return True
        terms = self.plans.get(plan) if plan is not None else None
        return terms is not None and terms.includes(name)
