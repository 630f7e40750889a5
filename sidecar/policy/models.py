"""What may be written in a policy file. `mcp-sidecar schema policy` prints it as JSON Schema.

The models hold the shape alone; what refers to something else in the files is checked in `compile`,
where every problem has its place.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from sidecar.config.documents import Lax, Model
from sidecar.config.settings_types import Duration
from sidecar.model import MAX_AMOUNT, ConsentMode, OnUnknown

TOKEN_PATTERN: Final = r"^[\x21\x23-\x5B\x5D-\x7E]{1,255}$"  # noqa: S105 - RFC 6749 section 3.3, scope-token
NAME_PATTERN: Final = r"^[A-Za-z][A-Za-z0-9_-]{0,63}$"
TOOL_PATTERN: Final = r"^[A-Za-z0-9_./-]{1,128}$"
URI_PATTERN: Final = r"^[^\x00-\x20\x7f]{1,512}$"
PROMPT_PATTERN: Final = r"^[^\x00-\x20\x7f*]([^\x00-\x1f\x7f*]{0,126}[^\x00-\x20\x7f*])?$"
METHOD_PATTERN: Final = r"^[A-Za-z0-9_.:/$-]{1,128}$"

Whole = Annotated[int, Field(ge=0, le=MAX_AMOUNT)]
ScopeName = Annotated[str, Field(pattern=TOKEN_PATTERN)]
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
ToolName = Annotated[str, Field(pattern=TOOL_PATTERN)]
UriPattern = Annotated[str, Field(pattern=URI_PATTERN)]
PromptName = Annotated[str, Field(pattern=PROMPT_PATTERN)]
MethodName = Annotated[str, Field(pattern=METHOD_PATTERN)]
WindowName = Literal["minute", "hour", "day", "month"]
Visibility = Literal["show", "hide"]
Limits = dict[WindowName, Whole]


class ScopeDocument(Model):
    """One scope."""

    description: str
    """What a person who grants it reads."""
    implies: Lax[tuple[ScopeName, ...]] = ()
    """Scopes that it includes."""


class PoolDocument(Model):
    """One pool of credits."""

    description: str
    """What one credit is spent on."""


class ListingDocument(Model):
    """What `tools/list` hides."""

    missing_scope: Visibility = "show"
    """Tools whose scopes the caller lacks; shown, so that a client can ask for more."""
    missing_plan: Visibility = "hide"
    """Tools that the account's plan does not include."""


class PlanDocument(Model):
    """One plan."""

    tools: Lax[tuple[ToolName, ...]] | None = None
    """The tools it includes; absent for all."""
    resources: Lax[tuple[UriPattern, ...]] | None = None
    """The resources it includes, by their patterns; absent for all."""
    prompts: Lax[tuple[PromptName, ...]] | None = None
    """The prompts it includes; absent for all."""
    quotas: dict[Name, dict[WindowName, Whole | None]] = Field(default_factory=dict)
    """Limits that differ from the policy's, merged per window; null removes one."""
    credits: dict[Name, Annotated[Limits, Field(min_length=1, max_length=1)]] = Field(default_factory=dict)
    """Included credits per pool, spent before the balance."""


class AmountDocument(Model):
    """An amount that depends on the call: `{reserve, settle}` or `{items, each, settle, once}`."""

    reserve: Whole | str | None = None
    """What to reserve: a number or a JMESPath expression over `arguments` and `meta`."""
    items: str | None = None
    """An expression that gives the list of items to be paid."""
    each: Annotated[int, Field(ge=1, le=MAX_AMOUNT)] | None = None
    """Units per item; 1 if absent."""
    settle: Whole | str | None = None
    """What it really cost, over `result` and `data` too: a number, or the list of items delivered."""
    once: bool | None = None
    """Whether an item that was paid before is free."""


Amount = Whole | str | AmountDocument


class ConfirmDocument(Model):
    """A confirmation that the call must carry."""

    argument: str
    """The argument that must be true."""
    message: str | None = None
    """What is told when it is missing."""
    inject: bool = False
    """Whether the argument is the sidecar's own: listed by it and removed before forwarding."""


class DefaultsDocument(Model):
    """What holds for every tool that does not say otherwise."""

    uses: dict[Name, Amount] = Field(default_factory=dict)
    """Quota units per call."""


class OperationDocument(Model):
    """What clients may do, but for calling tools: resources by URI pattern, prompts and methods by name."""

    scopes: Lax[tuple[ScopeName, ...]]
    """Scopes that a token needs, all of them; [] for any valid token."""
    uses: dict[Name, Amount] = Field(default_factory=dict)
    """Quota units."""
    spends: dict[Name, Amount] = Field(default_factory=dict)
    """Credits."""
    timeout: Duration | None = None
    """How long it may take, instead of the backend's timeout."""
    on_unknown: Lax[OnUnknown] | None = None
    """What becomes of the reserved amounts when nobody knows how it ended."""


class ToolDocument(Model):
    """One tool that clients may call."""

    scopes: Lax[tuple[ScopeName, ...]]
    """Scopes that a token needs, all of them; [] for any valid token."""
    arguments: dict[str, Any] | None = None
    """JSON Schema 2020-12 for the arguments; defaults are filled in and forwarded."""
    confirm: ConfirmDocument | None = None
    """A confirmation that must be given first."""
    uses: dict[Name, Amount] | None = None
    """Quota units; replaces those of `defaults`."""
    spends: dict[Name, Amount] = Field(default_factory=dict)
    """Credits."""
    rows: str | None = None
    """Rows of the result, for the log."""
    timeout: Duration | None = None
    """How long a call may take, instead of the backend's timeout."""
    charge_errors: bool | None = None
    """Whether results that say isError are charged as others are; false if absent."""
    on_unknown: Lax[OnUnknown] | None = None
    """What becomes of the reserved amounts when nobody knows how the call ended."""
    serve: Literal["usage"] | None = None
    """The sidecar answers itself, from the store."""


class ConsentDocument(Model):
    """A consent that lists scopes."""

    scopes: Lax[tuple[ScopeName, ...]]
    """The scopes it lists."""


class TestCallerDocument(Model):
    """Who calls in a test; all that is absent is as on an account's first good day."""

    __test__ = False  # pytest would take it for a test class

    scopes: Lax[tuple[ScopeName, ...]] = ()
    """The token's scopes."""
    plan: Name | None = None
    """The account's plan; `default_plan` if absent."""
    status: Literal["active", "disabled"] = "active"
    """The account's status."""
    consent: Literal["active", "missing", "revoked"] | ConsentDocument = "active"
    """The consent of this account for this client."""
    credits: dict[Name, Whole] = Field(default_factory=dict)
    """Balance per pool, beside the credits that the plan includes."""
    included: dict[Name, Whole] = Field(default_factory=dict)
    """Included credits used up already, per pool."""
    quotas: dict[Name, Limits] = Field(default_factory=dict)
    """Units used up already, per quota and window."""
    paid: dict[Name, Lax[tuple[str | int, ...]]] = Field(default_factory=dict)
    """Items paid for already, per pool or quota."""


class TestCallDocument(Model):
    """What is called in a test: a tool, a resource, a prompt or another method."""

    __test__ = False

    tool: str | None = None
    """The tool that is called."""
    resource: str | None = None
    """The URI of the resource that is read, or that the method names."""
    prompt: str | None = None
    """The prompt that is got, or that the method names."""
    method: str | None = None
    """Another method; beside it the resource or prompt that it is about, if it is about one."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Arguments of the tool or prompt."""
    meta: dict[str, Any] | None = None
    """The request's `_meta`."""


class AllowDocument(Model):
    """What an allowed call reserves; what is not named is not compared."""

    credits: dict[Name, Whole] = Field(default_factory=dict)
    """Credits per pool."""
    quotas: dict[Name, Whole] = Field(default_factory=dict)
    """Units per quota."""


class ExpectDocument(Model):
    """An expected outcome with its price."""

    allow: AllowDocument
    """The call is allowed and reserves this."""


class TestDocument(Model):
    """One test of the policy."""

    __test__ = False

    name: str
    """What it shows."""
    caller: TestCallerDocument = TestCallerDocument()
    """Who calls."""
    call: TestCallDocument
    """What is called."""
    expect: str | ExpectDocument
    """`allow`, the code of a refusal, or `{allow: {credits, quotas}}`."""


class PolicyDocument(Model):
    """A policy: what clients of one MCP server may do, what it costs, and who pays."""

    scopes: dict[ScopeName, str | ScopeDocument] = Field(default_factory=dict)
    """The scopes of access tokens, each with a description."""
    base_scopes: Lax[tuple[ScopeName, ...]] = ()
    """Named by the first challenge, before an operation is known."""
    consent: Lax[ConsentMode] = ConsentMode.REQUIRED
    """Whether a consent record must exist, or the first valid token creates it."""
    manage_url: Annotated[str, Field(pattern=r"^https?://[^\s/]+\S*$")] | None = None
    """Where people manage their clients; told to those whose client was revoked."""
    listing: ListingDocument = ListingDocument()
    """What lists of tools hide."""
    quotas: dict[Name, Limits] = Field(default_factory=dict)
    """Limits per account in fixed UTC windows."""
    credits: dict[Name, str | PoolDocument] = Field(default_factory=dict)
    """Pools of credits, each with what one credit is spent on."""
    default_plan: Name | None = None
    """The plan of accounts that the store does not know; absent refuses them."""
    plans: dict[Name, PlanDocument] | None = None
    """Plans of accounts."""
    defaults: DefaultsDocument = DefaultsDocument()
    """What holds for tools that do not say otherwise."""
    tools: dict[ToolName, ToolDocument] = Field(default_factory=dict)
    """The tools that exist for clients."""
    resources: dict[UriPattern, OperationDocument] = Field(default_factory=dict)
    """The resources that clients may read and subscribe to, by URI pattern."""
    prompts: dict[PromptName, OperationDocument] = Field(default_factory=dict)
    """The prompts that clients may get, by name."""
    methods: dict[MethodName, OperationDocument] = Field(default_factory=dict)
    """Other methods that clients may use, by name."""
    tests: Lax[tuple[TestDocument, ...]] = ()
    """Calls and what must become of them; run before the policy is used."""
