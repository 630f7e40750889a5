"""Models of a policy file. `mcp-sidecar schema policy` prints them as JSON Schema.

The models define the form only; `compile` checks references between declarations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, create_model

from sidecar.approval import ConfirmBy
from sidecar.config.documents.merging import Lax, Model
from sidecar.config.settings.scalars import Duration
from sidecar.model import MAX_AMOUNT, OnUnknown
from sidecar.policy.language.case_models import TestDocument
from sidecar.policy.language.field_types import (
    Limits,
    MethodName,
    Mode,
    Name,
    Pin,
    PromptName,
    ScopeName,
    ToolName,
    UriPattern,
    Visibility,
    Whole,
    WindowName,
)
from sidecar.policy.serving.own_tools import OwnTool
from sidecar.terms import ConsentMode
from sidecar.window_rules import WINDOWS, Window


class ScopeDocument(Model):
    """One scope."""

    description: str
    """Shown to the person who grants it."""
    implies: Lax[tuple[ScopeName, ...]] = ()
    """Scopes that it includes."""


class PoolDocument(Model):
    """One pool of credits."""

    description: str
    """The purpose of one credit."""


class ListingDocument(Model):
    """Tools that `tools/list` hides."""

    missing_scope: Visibility = "show"
    """Tools that need scopes which the caller lacks; shown by default, so that a client can request more scopes."""
    missing_plan: Visibility = "hide"
    """Tools that the account's plan does not include."""
    narrow: bool = True
    """Lists show schemas narrowed to what `arguments` accepts; false: as the backend wrote them."""


class _Quota(Model):
    mode: Mode | None = None
    """`shadow`: the quota is counted, and calls beyond it are logged and counted, not refused."""

    @property
    def limits(self) -> dict[Window, int]:
        """Limit per window."""
        found = {window: getattr(self, window) for window in WINDOWS}
        return {window: limit for window, limit in found.items() if limit is not None}


if TYPE_CHECKING:
    QuotaDocument = _Quota
else:  # a key for each window of the table
    QuotaDocument = create_model(
        "QuotaDocument",
        __base__=_Quota,
        __doc__="Limits of one quota, per account in fixed UTC windows.",
        **{window: (Whole, Field(default=None, description=f"Units per {window}.")) for window in WINDOWS},
    )


class PlanDocument(Model):
    """One plan."""

    tools: Lax[tuple[ToolName, ...]] | None = None
    """Included tools; all if absent."""
    resources: Lax[tuple[UriPattern, ...]] | None = None
    """Included resources, by pattern; all if absent."""
    prompts: Lax[tuple[PromptName, ...]] | None = None
    """Included prompts; all if absent."""
    quotas: dict[Name, dict[WindowName, Whole | None]] = Field(default_factory=dict)
    """Limits that replace the policy's, merged per window; null removes a limit."""
    credits: dict[Name, Annotated[Limits, Field(min_length=1, max_length=1)]] = Field(default_factory=dict)
    """Included credits per pool, spent before the balance."""
    mode: Mode | None = None
    """`shadow`: the list of tools is evaluated, logged and counted, and refuses nothing."""


class AmountDocument(Model):
    """An amount that depends on the call: `{reserve, settle}` or `{items, each, settle, once}`."""

    reserve: Whole | str | None = None
    """Units to reserve: a number or a JMESPath expression over `arguments` and `meta`."""
    items: str | None = None
    """Expression for the list of items to pay."""
    each: Annotated[int, Field(ge=1, le=MAX_AMOUNT)] | None = None
    """Units per item; 1 if absent."""
    settle: Whole | str | None = None
    """Actual cost, also over `result` and `data`: a number, or the list of delivered items."""
    once: bool | None = None
    """True makes items free that the account has paid before."""


Amount = Whole | str | AmountDocument


class ConfirmDocument(Model):
    """A confirmation that each call needs: an argument, or the answer of a person."""

    by: Lax[ConfirmBy] = ConfirmBy.ARGUMENT
    """`argument`: an argument is true, which a model may set. `person`: a person answers the client's form. `page`: the
    account holder answers on the account page."""
    fallback: Annotated[Literal["argument"] | None, Field(alias="or")] = None
    """`argument`: clients that cannot ask a person set the argument instead; otherwise their calls are refused."""
    argument: str | None = None
    """The argument that must be true; with `by: person` or `page` only together with `or: argument`."""
    message: str | None = None
    """With `by: argument`, the message when it is missing; else the text for the person, with `{NAME}` for the value of
    an argument."""
    title: Annotated[str, Field(min_length=1, max_length=80)] | None = None
    """The tool's name for the person; the tool's own if absent."""
    inject: bool = False
    """True for an argument of the sidecar's own, which it adds to listings and removes before forwarding."""
    mode: Mode | None = None
    """`shadow`: a missing confirmation is logged and counted, not refused; nothing is injected, and no person asked."""


class DefaultsDocument(Model):
    """Values for tools that set none of their own."""

    uses: dict[Name, Amount] = Field(default_factory=dict)
    """Quota units per call."""


class OperationDocument(Model):
    """An operation other than a tool call: resources by URI pattern, prompts and methods by name."""

    scopes: Lax[tuple[ScopeName, ...]]
    """Scopes that a token needs, all of them; [] for any valid token."""
    uses: dict[Name, Amount] = Field(default_factory=dict)
    """Quota units."""
    spends: dict[Name, Amount] = Field(default_factory=dict)
    """Credits."""
    timeout: Duration | None = None
    """Timeout that replaces the backend's."""
    on_unknown: Lax[OnUnknown] | None = None
    """Resolution of the reserved amounts when the outcome is unknown."""


class ToolDocument(Model):
    """One tool that clients may call."""

    scopes: Lax[tuple[ScopeName, ...]]
    """Scopes that a token needs, all of them; [] for any valid token."""
    arguments: dict[str, Any] | None = None
    """JSON Schema 2020-12 of the arguments; defaults are added and forwarded."""
    confirm: ConfirmDocument | None = None
    """A confirmation that the call requires."""
    uses: dict[Name, Amount] | None = None
    """Quota units; replaces those of `defaults`."""
    spends: dict[Name, Amount] = Field(default_factory=dict)
    """Credits."""
    rows: str | None = None
    """Rows of the result, for the log."""
    timeout: Duration | None = None
    """Timeout that replaces the backend's."""
    charge_errors: bool | None = None
    """True charges results with isError like any other; false if absent."""
    on_unknown: Lax[OnUnknown] | None = None
    """Resolution of the reserved amounts when the call's outcome is unknown."""
    pin: Pin | None = None
    """Digest of the backend's definition, as `init` writes it; a definition that differs is not served."""
    serve: Lax[OwnTool] | None = None
    """The sidecar answers this tool itself, from the store."""


class PolicyDocument(Model):
    """Policy of one MCP server: operations, prices, plans."""

    scopes: dict[ScopeName, str | ScopeDocument] = Field(default_factory=dict)
    """The scopes of access tokens, each with a description."""
    base_scopes: Lax[tuple[ScopeName, ...]] = ()
    """Scopes of the first challenge, before an operation is known; many issuers grant no others later."""
    consent: Lax[ConsentMode] = ConsentMode.REQUIRED
    """`required`: a consent record must exist. `first_use`: the first valid token creates it."""
    manage_url: Annotated[str, Field(pattern=r"^https?://[^\s/]+\S*$")] | None = None
    """Page where people manage their clients; named in refusals for consent and credits."""
    listing: ListingDocument = ListingDocument()
    """Tools that listings hide."""
    quotas: dict[Name, QuotaDocument] = Field(default_factory=dict)
    """Limits per account in fixed UTC windows."""
    credits: dict[Name, str | PoolDocument] = Field(default_factory=dict)
    """Pools of credits, each with its purpose."""
    default_plan: Name | None = None
    """The plan of accounts without a record in the store; if absent, they are refused."""
    plans: dict[Name, PlanDocument] | None = None
    """Plans of accounts."""
    pin_mismatch: Literal["refuse", "warn"] = "refuse"
    """`refuse` hides and refuses tools that differ from their pin; `warn` serves them and logs it."""
    defaults: DefaultsDocument = DefaultsDocument()
    """Defaults of all tools."""
    tools: dict[ToolName, ToolDocument] = Field(default_factory=dict)
    """Tools that clients may call."""
    resources: dict[UriPattern, OperationDocument] = Field(default_factory=dict)
    """The resources that clients may read and subscribe to, by URI pattern."""
    prompts: dict[PromptName, OperationDocument] = Field(default_factory=dict)
    """The prompts that clients may get, by name."""
    methods: dict[MethodName, OperationDocument] = Field(default_factory=dict)
    """Other methods that clients may use, by name."""
    empty: bool = False
    """Declares a policy without tools as intended, and not as a truncated file."""
    tests: Lax[tuple[TestDocument, ...]] = ()
    """Calls and their expected outcomes; run before the policy is used."""
