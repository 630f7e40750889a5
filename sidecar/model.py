"""The words every part of the sidecar uses: who calls, what is said, what it may cost, what may happen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any, Final

from sidecar.errors import Refusal

MAX_AMOUNT: Final = 2**53 - 1
"""The largest amount, balance or limit: the largest integer that JSON, Lua and Python read alike."""

AMOUNTS_MOST: Final = 100
"""Amounts that one call may have, quotas and credits together; `lua/hold.lua` says the same."""

RequestId = str | int
Window = str
"""One of `minute`, `hour`, `day`, `month`: a fixed UTC window on the store's clock."""

WINDOWS: Final[tuple[Window, ...]] = ("minute", "hour", "day", "month")


class Revision(StrEnum):
    """The MCP revisions served; the order of members is the order in time."""

    V2025_03_26 = "2025-03-26"
    V2025_06_18 = "2025-06-18"
    V2025_11_25 = "2025-11-25"
    V2026_07_28 = "2026-07-28"

    @property
    def stateless(self) -> bool:
        """Whether requests carry their own `_meta` instead of a session (2026-07-28 and later)."""
        return self is Revision.V2026_07_28


# --- who calls ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a verified access token speaks for. Times are whole seconds since the Unix epoch.

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


# --- what is said ------------------------------------------------------------------------------


class CallKind(StrEnum):
    """What one HTTP request carries."""

    REQUEST = "request"
    NOTIFICATION = "notification"
    RESPONSE = "response"  # a client's answer to a request of the server (older revisions)
    STREAM = "stream"  # GET (older revisions)
    END_SESSION = "end_session"  # DELETE (older revisions)


@dataclass(frozen=True, slots=True)
class Call:
    """One message, read once and strictly; what is forwarded is built from this and nothing else.

    Attributes:
        method: the JSON-RPC method; empty for responses, GET and DELETE.
        id: the request id; None for everything that is not a request or a response.
        params: plain values, to be judged; empty when absent.
        document: the whole message for forwarding, with number literals that do not survive a
            round trip kept as they were sent; None for GET and DELETE.
        session: the value of `Mcp-Session-Id`, if sent in a revision that has sessions.
        carried: `Mcp-Param-*` headers to carry over once, never judged.
        last_event_id: the event after which a session's stream is to be resumed; GET only.
        tasks: ids of the tasks that the message names; all of them have to be the caller's.
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

    @property
    def listens(self) -> bool:
        """Whether its answer is a stream of the server's own messages, without an end of its own."""
        return self.kind is CallKind.STREAM or (self.kind is CallKind.REQUEST and self.method == "subscriptions/listen")

    @property
    def tool(self) -> str | None:
        """The tool a `tools/call` names; None for every other method."""
        return self.params.get("name") if self.method == "tools/call" else None


# --- what it costs -----------------------------------------------------------------------------


class AmountKind(StrEnum):
    """What an amount is taken from."""

    QUOTA = "quota"
    CREDIT = "credit"


@dataclass(frozen=True, slots=True)
class Demand:
    """One amount of one call, to be reserved before it is forwarded.

    A plain amount has `reserve` units. With `items` (the distinct items of a `once` amount) the
    store decides how many are still unpaid and reserves `each` for those; `reserve` is then the
    price if none were paid. A `fixed` amount is consumed once the call was forwarded, however the
    call ends.
    """

    kind: AmountKind
    name: str
    reserve: int
    items: tuple[str, ...] | None = None
    each: int = 1
    fixed: bool = False


class OnUnknown(StrEnum):
    """What becomes of a hold whose outcome nobody knows."""

    SETTLE = "settle"
    RELEASE = "release"


class ConsentMode(StrEnum):
    """Whether a consent record must exist, or a first valid token creates it."""

    REQUIRED = "required"
    FIRST_USE = "first_use"


@dataclass(frozen=True, slots=True)
class PlanTerms:
    """What one plan grants for one operation; only the quotas and pools the operation uses.

    Attributes:
        allowed: whether the plan includes the operation.
        quotas: limit per quota and window.
        credits: window and included credits per pool.
    """

    allowed: bool
    quotas: Mapping[str, Mapping[Window, int]] = field(default_factory=dict)
    credits: Mapping[str, tuple[Window, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Terms:
    """What the policy says about one operation whoever calls it: compiled once per operation.

    Attributes:
        consent: the policy's consent mode.
        default_plan: the plan of an account without a record; None refuses it.
        plans: terms per plan name; None when the policy has no plans (then `base` holds for all).
        base: terms of accounts in a policy without plans.
        scopes: for each scope the operation needs, every scope that grants it (itself and those
            that imply it): a consent record that lists scopes must hold one of each.
    """

    consent: ConsentMode
    default_plan: str | None
    plans: Mapping[str, PlanTerms] | None
    base: PlanTerms
    scopes: tuple[tuple[str, ...], ...] = ()


class Depth(StrEnum):
    """How far an admission looks."""

    CONSENT = "consent"  # consent and status: undeclared methods and tools
    PLAN = "plan"  # consent, status, plan: no price can be computed
    PRICE = "price"  # all of gates 5-7


@dataclass(frozen=True, slots=True)
class Application:
    """One request to pass gates 5-7.

    Attributes:
        call_id: the sidecar's own id of the call; every script is idempotent on it.
        owner: the process that will resolve the hold.
        caller: whose account, consent and session are asked for.
        look: True reads only: no hold, nothing written, a missing `first_use` record is granted.
        depth: how far to look.
        terms: the operation's terms.
        demands: what to reserve.
        on_unknown: recorded in the hold, for whoever finds it without its owner.
        lease: milliseconds until the hold may be resolved by somebody else.
        session: the `Mcp-Session-Id` whose binding must be the caller's; None checks none.
        request: what stands for this request on its session (`keys.request_digest`); no other call
            may have it while this one is open. None without a session.
        tasks: ids of the tasks whose bindings must be the caller's.
    """

    call_id: str
    owner: str
    caller: Caller
    look: bool
    depth: Depth
    terms: Terms
    demands: tuple[Demand, ...] = ()
    on_unknown: OnUnknown = OnUnknown.RELEASE
    lease: int = 120_000
    session: str | None = None
    request: str | None = None
    tasks: tuple[str, ...] = ()


class AdmissionCode(IntEnum):
    """What the admission script answers; the Lua returns the same numbers."""

    ADMITTED = 0
    SESSION_UNKNOWN = 1
    CONSENT_MISSING = 2
    CONSENT_REVOKED = 3
    ACCOUNT_UNKNOWN = 4
    ACCOUNT_DISABLED = 5
    PLAN_REQUIRED = 6
    CONSENT_SCOPES = 7  # the consent record does not list a scope the operation needs
    QUOTA_EXCEEDED = 8
    INSUFFICIENT_CREDITS = 9
    RESOLVED_ALREADY = 10  # this call id was released or settled before its admission arrived
    REQUEST_IN_FLIGHT = 11  # another call has this request id on this session
    TASK_UNKNOWN = 12  # a task it names is not the caller's, or not there: nobody is told which


@dataclass(frozen=True, slots=True)
class Price:
    """What one demand needs and what the account has, before the call takes it.

    Attributes:
        needed: units that this call reserves.
        left: units available: of the tightest window for a quota, included and balance for
            credits; None when nothing limits it.
        limit: limit of that window; None for credits and unlimited quotas.
        window: that window's name, for quotas.
        resets_in: whole seconds until that window (for credits the included credits' window)
            ends, at least 1; None when nothing resets.
    """

    kind: AmountKind
    name: str
    needed: int
    left: int | None
    limit: int | None = None
    window: Window | None = None
    resets_in: int | None = None


@dataclass(frozen=True, slots=True)
class Admission:
    """The store's answer to an application.

    Attributes:
        plan: the account's current plan; None when the policy has no plans or it was not read.
        consent_scopes: scopes listed by the consent record; None when it lists none.
        consent_since: when the consent record was last written, seconds since the epoch; for a
            revocation, when it was revoked; None without a record.
        prices: one per demand, when the look or admission got that far.
        refused: index into `prices` of the demand that was refused.
        held: whether a hold was written that must be settled or released.
    """

    code: AdmissionCode
    plan: str | None = None
    consent_scopes: frozenset[str] | None = None
    consent_since: int | None = None
    prices: tuple[Price, ...] = ()
    refused: int | None = None
    held: bool = False


# --- what may happen ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Decision:
    """What gate 4 says of one call.

    Attributes:
        refusal: gate 4's refusal; it is answered only after a look at gates 5-7 finds none.
        terms: what gates 5-7 need to know; None for methods that need a token only.
        depth: how far gates 5-7 can look (no price could be computed, operation undeclared).
        demands: what to reserve.
        document: the message to forward: defaults applied, an injected confirmation removed.
        scopes: scopes of this operation (not expanded), for challenges.
        rule: `file:line` of the rule that decided.
        timeout: seconds the call may take, if its tool says so.
        shadow: rules that would have refused but only watch.
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
    shadow: tuple[str, ...] = ()
