"""Vocabulary of all packages: caller, call, demand, application, decision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import IntEnum
from typing import Any, Final

from sidecar.approval import ApprovalUse
from sidecar.errors import Refusal, ShadowRefusal
from sidecar.terms import Terms
from sidecar.vocabulary import TextEnum, record
from sidecar.window_rules import Window

MAX_AMOUNT: Final = 2**53 - 1
"""Largest amount, balance or limit: the largest integer that JSON, Lua and Python all represent exactly."""

MAX_AMOUNTS_PER_HOLD: Final = 100
"""Maximum number of amounts of one call, quotas and credits together."""

RequestId = str | int


class Revision(TextEnum):
    """Supported MCP revisions, oldest first; in `stateless` ones, requests carry their own `_meta`, not a session."""

    V2025_03_26 = "2025-03-26"
    V2025_06_18 = "2025-06-18"
    V2025_11_25 = "2025-11-25"
    V2026_07_28 = "2026-07-28"

    def __init__(self, version: str) -> None:
        super().__init__(version)
        self.stateless = version >= "2026-07-28"


@record
class Caller:
    """Party that a verified access token was issued for. Times are whole seconds since the Unix epoch.

    `issuer_id` is the configured name of the issuer; with `account` it names the account, and with
    `subject` and `client_id` it names the consent. `scopes` are the token's own, not expanded.
    """

    issuer_id: str
    issuer: str
    subject: str
    account: str
    client_id: str
    scopes: frozenset[str]
    issued_at: int
    expires_at: int


class CallKind(TextEnum):
    """Content of one HTTP request."""

    REQUEST = "request"
    NOTIFICATION = "notification"
    RESPONSE = "response"  # a client's answer to a request of the server (older revisions)
    STREAM = "stream"  # GET (older revisions)
    END_SESSION = "end_session"  # DELETE (older revisions)


@record
class Call:
    """One message, parsed once and strictly; the forwarded message is built from this alone.

    Attributes:
        method: the JSON-RPC method; empty for responses, GET and DELETE.
        id: the request id; None unless the message is a request or a response.
        params: plain values for the gates; empty when absent.
        document: the whole message for forwarding; number literals that do not survive a round
            trip are kept as sent; None for GET and DELETE.
        session: the value of `Mcp-Session-Id`, if sent in a revision that has sessions.
        carried: `Mcp-Param-*` headers to forward unchanged, which no gate reads.
        last_event_id: the event after which a session's stream is resumed; GET only.
        tasks: ids of the tasks that the message names; all of them must belong to the caller.
        listens: True when the answer is a stream of the server's own messages, which has no end of its own.
        tool: name of the tool of a `tools/call`; None for every other method.
    """

    kind: CallKind
    revision: Revision
    method: str = ""
    id: RequestId | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    document: Mapping[str, Any] | None = None
    session: str | None = None
    carried: tuple[tuple[str, str], ...] = ()
    last_event_id: str | None = None
    tasks: tuple[str, ...] = ()
    listens: bool = field(init=False, repr=False, compare=False)
    tool: str | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        method = self.method
        listens = method == "subscriptions/listen" and self.kind is CallKind.REQUEST
        # By assignment, which `object.__setattr__` takes ten times as long as: only the type check holds it immutable.
        self.listens = listens or (not method and self.kind is CallKind.STREAM)  # type: ignore[misc]
        self.tool = self.params.get("name") if method == "tools/call" else None  # type: ignore[misc]


class AmountKind(TextEnum):
    """Account resource that an amount is taken from."""

    QUOTA = "quota"
    CREDIT = "credit"


@record
class Demand:
    """One amount that a call reserves before it is forwarded.

    A plain amount reserves `reserve` units. With `items` (the distinct items of a `once` amount) the
    store reserves `each` for every unpaid item; `reserve` is then the price of all of them.
    A `fixed` amount is consumed when the call has been forwarded, regardless of its outcome.
    With `shadow`, the `file:line` of a quota in shadow mode, it is counted and refuses nothing.
    """

    kind: AmountKind
    name: str
    reserve: int
    items: tuple[str, ...] | None = None
    each: int = 1
    fixed: bool = False
    shadow: str | None = None


class OnUnknown(TextEnum):
    """Resolution of a hold with an unknown outcome."""

    SETTLE = "settle"
    RELEASE = "release"


class Depth(TextEnum):
    """Last gate that an admission evaluates."""

    CONSENT = "consent"  # consent and status: undeclared methods and tools
    PLAN = "plan"  # consent, status, plan: no price can be computed
    PRICE = "price"  # all of gates 5-7


@record
class Application:
    """Request for admission through gates 5-7.

    Attributes:
        call_id: the sidecar's own id of the call; every script is idempotent on it.
        owner: the process that will resolve the hold.
        caller: names the account, the consent and the session.
        dry_run: True reads only: no hold, no write; a missing `first_use` record counts as granted.
        depth: the last gate to evaluate.
        terms: the operation's terms.
        demands: the amounts to reserve.
        on_unknown: recorded in the hold, for the process that resolves it after its owner died.
        lease: milliseconds until another process may resolve the hold.
        session: the `Mcp-Session-Id` that must be bound to the caller; None checks none.
        request: digest of this request on its session (`keys.request_digest`); no other call may
            use it while this one is in flight. None without a session.
        tasks: ids of the tasks that must be bound to the caller.
        approval: the approval of a person that the call needs; its admission uses it up.
    """

    call_id: str
    owner: str
    caller: Caller
    dry_run: bool
    depth: Depth
    terms: Terms
    demands: tuple[Demand, ...] = ()
    on_unknown: OnUnknown = OnUnknown.RELEASE
    lease: int = 120_000
    session: str | None = None
    request: str | None = None
    tasks: tuple[str, ...] = ()
    approval: ApprovalUse | None = None


class AdmissionCode(IntEnum):
    """Answers of the admission script; the Lua returns these numbers."""

    ADMITTED = 0
    SESSION_UNKNOWN = 1
    CONSENT_MISSING = 2
    CONSENT_REVOKED = 3
    ACCOUNT_UNKNOWN = 4
    ACCOUNT_DISABLED = 5
    PLAN_REQUIRED = 6
    CONSENT_SCOPES = 7  # the consent record lacks a scope that the operation needs
    QUOTA_EXCEEDED = 8
    INSUFFICIENT_CREDITS = 9
    RESOLVED_ALREADY = 10  # this call id was released or settled before its admission arrived
    REQUEST_IN_FLIGHT = 11  # another call has this request id on this session
    TASK_UNKNOWN = 12  # a named task is another caller's or does not exist; the answer does not say which
    APPROVAL_UNKNOWN = 13  # the approval has expired, was used, or is another caller's
    APPROVAL_DECLINED = 14
    APPROVAL_NEEDED = 15  # none for this call: other arguments, another rule, a higher price, or no answer yet


@record
class Price:
    """Units that one demand needs and units that the account has before the call.

    Attributes:
        needed: units that this call reserves.
        left: units available: in the tightest window for a quota, included credits and balance
            for credits; None when unlimited.
        limit: limit of that window; None for credits and unlimited quotas.
        window: that window's name, for quotas.
        resets_in: seconds until that window (for credits, of those included) ends, at least 1; None: nothing resets.
    """

    kind: AmountKind
    name: str
    needed: int
    left: int | None
    limit: int | None = None
    window: Window | None = None
    resets_in: int | None = None


@record
class AdmissionReply:
    """Answer of the store to an application.

    Attributes:
        plan: the account's current plan; None when the policy has no plans or the plan was not read.
        consent_scopes: scopes listed by the consent record; None when it lists none.
        consent_since: seconds since the epoch of the record's last write or revocation; None without a record.
        prices: one per demand, when the admission reached gate 7.
        refused: index into `prices` of the demand that was refused.
        held: True when a hold was written, which must be settled or released.
        approval: handle of the approval that the call has used.
        carried: the backend's own `requestState`, which that approval has kept.
    """

    code: AdmissionCode
    plan: str | None = None
    consent_scopes: frozenset[str] | None = None
    consent_since: int | None = None
    prices: tuple[Price, ...] = ()
    refused: int | None = None
    held: bool = False
    approval: str | None = None
    carried: str | None = None


@record
class Decision:
    """Outcome of gate 4 for one call.

    Attributes:
        refusal: gate 4's refusal; it is answered only when gates 5-7 do not refuse the call first.
        terms: input of gates 5-7; None for methods that need a token only.
        depth: the last gate that can be evaluated (lower without a price or a declared operation).
        demands: the amounts to reserve.
        document: the message to forward: defaults applied, an injected confirmation removed.
        scopes: scopes of this operation (not expanded), for challenges.
        rule: `file:line` of the rule that decided.
        timeout: seconds that the call may take, if its tool sets a timeout.
        shadow: refusals of gate 4's rules in shadow mode; those of gates 5-7 are in `ledger.shadow`.
        arguments: the completed arguments that were judged; empty for an operation that is no tool.
        meta: the request's `_meta`, as prices read it.
        approval: the approval of a person that the call claims, or, when it is refused for that, needs.
    """

    refusal: Refusal | None
    terms: Terms | None
    depth: Depth = Depth.PRICE
    demands: tuple[Demand, ...] = ()
    document: Mapping[str, Any] | None = None
    scopes: tuple[str, ...] = ()
    rule: str | None = None
    timeout: float | None = None
    on_unknown: OnUnknown = OnUnknown.RELEASE
    shadow: tuple[ShadowRefusal, ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)
    meta: Any = None
    approval: ApprovalUse | None = None
