"""Codes of all refusals, one row per code, and the exception that carries a code.

Documentation, metric labels, log lines and runbook headings are generated from this table. A new code
needs a complete row; a row without a column does not import.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Any, Final

from sidecar.vocabulary import TextEnum, record


class Gate(TextEnum):
    """Gates of a request, in order; `forward` is the backend behind them."""

    TRANSPORT = "transport"
    TOKEN = "token"  # noqa: S105 - the name of a gate, not a password
    MESSAGE = "message"
    POLICY = "policy"
    CONSENT = "consent"
    ACCOUNT = "account"
    BUDGET = "budget"
    FORWARD = "forward"


class Shape(TextEnum):
    """Form of a refusal on the wire, when the request can carry an answer of that form."""

    CHALLENGE = "challenge"  # HTTP status with a WWW-Authenticate challenge (RFC 6750 section 3)
    TOOL_RESULT = "tool_result"  # 200 and isError: true; for other methods a JSON-RPC error over 200
    RPC_ERROR = "rpc_error"  # a JSON-RPC error body with the row's HTTP status
    HTTP = "http"  # problem JSON (RFC 9457): before a JSON-RPC message is read


class Blame(TextEnum):
    """Party that has to act before the same request can succeed."""

    CLIENT = "client"
    ACCOUNT = "account"
    OPERATOR = "operator"
    BACKEND = "backend"


@dataclass(frozen=True, slots=True)
class Row:
    """Fixed properties of one refusal.

    Attributes:
        status: HTTP status.
        rpc: JSON-RPC error number, used whenever the answer is a JSON-RPC error. The sidecar's own
            numbers are positive, outside the range -32768..-32000 that JSON-RPC and MCP reserve.
        shape: the default shape of the refusal.
        gate: the gate that raises it.
        blame: the party that can cure it.
        retryable: True when the same request may succeed later although no party acts.
        sentence: the caller's message when the refusal has no detail of its own.
    """

    status: int
    rpc: int
    shape: Shape
    gate: Gate
    blame: Blame
    retryable: bool
    sentence: str


_T, _K, _M, _P = Gate.TRANSPORT, Gate.TOKEN, Gate.MESSAGE, Gate.POLICY
_HTTP, _RPC, _TOOL, _AUTH = Shape.HTTP, Shape.RPC_ERROR, Shape.TOOL_RESULT, Shape.CHALLENGE
_CLIENT, _ACCOUNT, _OPERATOR, _BACKEND = Blame.CLIENT, Blame.ACCOUNT, Blame.OPERATOR, Blame.BACKEND


class ErrorCode(Enum):
    """Stable ids of all refusals; an id is the member's name in lower case."""

    # gate 1, transport
    REQUEST_MALFORMED = Row(400, -32600, _HTTP, _T, _CLIENT, False, "The HTTP request is malformed.")
    HOST_REFUSED = Row(403, 4031, _HTTP, _T, _CLIENT, False, "This Host name is not served here.")
    ORIGIN_REFUSED = Row(403, 4032, _HTTP, _T, _CLIENT, False, "This browser origin is not allowed.")
    PATH_UNKNOWN = Row(404, 4040, _HTTP, _T, _CLIENT, False, "This path is not served here.")
    HTTP_METHOD_REFUSED = Row(405, 4050, _HTTP, _T, _CLIENT, False, "This HTTP method is not served here.")
    NOT_ACCEPTABLE = Row(
        406, 4060, _HTTP, _T, _CLIENT, False, "Accept must include application/json and text/event-stream."
    )
    BODY_TOO_LARGE = Row(413, 4130, _HTTP, _T, _CLIENT, False, "The request body is larger than this server accepts.")
    BODY_TIMEOUT = Row(408, 4080, _HTTP, _T, _CLIENT, True, "The request body did not arrive in time.")
    MEDIA_TYPE_UNSUPPORTED = Row(
        415, 4150, _HTTP, _T, _CLIENT, False, "The body must be one uncompressed application/json document in UTF-8."
    )
    OVERLOADED = Row(503, 5031, _RPC, _T, _OPERATOR, True, "This server is busy; try again shortly.")
    # gate 2, token
    TOKEN_MISSING = Row(401, 4010, _AUTH, _K, _CLIENT, False, "An access token is required: log in and try again.")
    TOKEN_INVALID = Row(401, 4011, _AUTH, _K, _CLIENT, False, "The access token is not valid here: log in again.")
    ISSUER_UNAVAILABLE = Row(
        503,
        5032,
        _HTTP,
        _K,
        _OPERATOR,
        True,
        "Access tokens cannot be verified right now: the issuer's keys are unavailable.",
    )
    # gate 3, message
    MESSAGE_UNPARSABLE = Row(400, -32700, _RPC, _M, _CLIENT, False, "The body is not one strict JSON document.")
    MESSAGE_MALFORMED = Row(400, -32600, _RPC, _M, _CLIENT, False, "The body is not one well-formed JSON-RPC message.")
    PARAMS_MALFORMED = Row(400, -32602, _RPC, _M, _CLIENT, False, "The parameters of this method are malformed.")
    HEADER_MISMATCH = Row(
        400, -32020, _RPC, _M, _CLIENT, False, "The Mcp-* headers do not agree with the message in the body."
    )
    CAPABILITY_MISSING = Row(
        400, -32021, _RPC, _M, _CLIENT, False, "The request does not declare a client capability that it needs."
    )
    VERSION_UNSUPPORTED = Row(400, -32022, _RPC, _M, _CLIENT, False, "This protocol version is not supported.")
    SESSION_UNKNOWN = Row(404, 4041, _RPC, _M, _CLIENT, False, "There is no such session: initialize a new one.")
    EVENT_UNKNOWN = Row(
        400, 4003, _RPC, _M, _CLIENT, False, "Last-Event-ID names no event of this session: open a new stream."
    )
    TASK_UNKNOWN = Row(200, -32602, _RPC, _M, _CLIENT, False, "There is no such task, or it has expired.")
    # gate 4, policy
    METHOD_NOT_ALLOWED = Row(200, -32601, _RPC, _P, _OPERATOR, False, "This method is not available here.")
    TOOL_UNKNOWN = Row(200, -32602, _RPC, _P, _OPERATOR, False, "There is no tool of this name.")
    TOOL_CHANGED = Row(
        200,
        -32602,
        _RPC,
        _P,
        _OPERATOR,
        False,
        "This tool has changed since the operator approved it, and is not available until it is approved again.",
    )
    RESOURCE_UNKNOWN = Row(200, -32602, _RPC, _P, _OPERATOR, False, "There is no resource of this URI.")
    PROMPT_UNKNOWN = Row(200, -32602, _RPC, _P, _OPERATOR, False, "There is no prompt of this name.")
    INSUFFICIENT_SCOPE = Row(
        403, 4030, _AUTH, _P, _ACCOUNT, False, "The access token lacks a permission that this operation needs."
    )
    ARGUMENTS_REFUSED = Row(200, 4001, _TOOL, _P, _CLIENT, False, "The arguments of this call are not acceptable.")
    CONFIRMATION_REQUIRED = Row(
        200, 4002, _TOOL, _P, _CLIENT, False, "This call needs an explicit confirmation before it may run."
    )
    CONFIRMATION_DECLINED = Row(200, 4004, _TOOL, _P, _ACCOUNT, False, "The person declined this call; it did not run.")
    CONFIRMATION_UNAVAILABLE = Row(
        *(200, 4005, _TOOL, _P, _CLIENT, False),
        "A person must confirm this call, and this client cannot ask one: it did not run.",
    )
    CONFIRMATION_EXPIRED = Row(
        *(200, 4006, _TOOL, _P, _CLIENT, False),
        "The confirmation of this call has expired or was used before: repeat the call to ask again.",
    )
    # gate 5, consent
    CONSENT_MISSING = Row(
        200, 4033, _TOOL, Gate.CONSENT, _ACCOUNT, False, "This account has not approved this client: approve it first."
    )
    CONSENT_REVOKED = Row(
        200, 4034, _TOOL, Gate.CONSENT, _ACCOUNT, False, "The account holder has revoked this client's access."
    )
    # gate 6, account
    ACCOUNT_UNKNOWN = Row(200, 4035, _TOOL, Gate.ACCOUNT, _ACCOUNT, False, "This account is not known here.")
    ACCOUNT_DISABLED = Row(200, 4036, _TOOL, Gate.ACCOUNT, _ACCOUNT, False, "This account is disabled.")
    PLAN_REQUIRED = Row(200, 4021, _TOOL, Gate.ACCOUNT, _ACCOUNT, False, "The account's plan does not include this.")
    # gate 7, budget
    QUOTA_EXCEEDED = Row(200, 4290, _TOOL, Gate.BUDGET, _ACCOUNT, True, "A quota of this account is used up.")
    INSUFFICIENT_CREDITS = Row(
        200, 4020, _TOOL, Gate.BUDGET, _ACCOUNT, False, "The account has too few credits for this call."
    )
    STORE_UNAVAILABLE = Row(
        503, 5033, _RPC, Gate.BUDGET, _OPERATOR, True, "Permission for this call cannot be checked right now."
    )
    # behind the gates
    BACKEND_UNAVAILABLE = Row(
        502, 5020, _RPC, Gate.FORWARD, _BACKEND, True, "The server behind this proxy did not give a usable answer."
    )
    BACKEND_TIMEOUT = Row(
        504, 5040, _RPC, Gate.FORWARD, _BACKEND, True, "The server behind this proxy did not answer in time."
    )
    RESPONSE_TOO_LARGE = Row(
        502, 5021, _RPC, Gate.FORWARD, _BACKEND, False, "The answer was larger than this proxy relays."
    )
    INTERNAL = Row(500, -32603, _RPC, Gate.FORWARD, _OPERATOR, True, "This proxy failed; the call was refused.")

    __hash__ = object.__hash__  # members are compared by identity; that of `Enum` hashes the name in Python

    def __init__(self, row: Row) -> None:
        self.id = self.name.lower()
        """Stable id of this refusal in logs, metrics, answers and documentation."""
        self.row = row
        """Fixed properties of this refusal."""
        # Enum merges members with equal values into aliases: an equal row would silently lose a code.
        twins = [member.id for member in type(self) if member.row == row]
        if twins:
            raise TypeError(f"error codes {twins[0]} and {self.id} have equal rows")


_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


class Refusal(Exception):  # noqa: N818 - a refusal is an answer, not an error of the program
    """Rejection of one request; immutable. The pipeline answers it from its code's row.

    The caller sees `detail` and `data`; only the operator's log shows `log`.
    None of them may hold a token, an argument value, a URI, or the name of anything undeclared.

    Args:
        code: the row.
        detail: a sentence for the caller, instead of the row's.
        log: one more sentence, for the operator's log only.
        shape: replaces the row's shape: a revoked consent that a login cures is a challenge,
            a repeated scope challenge is a tool result.
        status: replaces the HTTP status of the row and the shape.
        scopes: the `scope` parameter of a challenge; of an invalid token, the scopes that it had.
        data: machine-readable detail in addition to the code (price, balance, `supported`, ...).
        retry_after: seconds after which a retry makes sense.
        rule: `file:line` of the policy rule that refused.
        specifics: the log's `detail`: which quota, argument, scope or audience; never an argument's value.
        recurs: True when this object refuses further requests, too: its answer and its log line are remembered.
    """

    code: ErrorCode
    detail: str
    log: str | None
    shape: Shape
    status: int
    scopes: tuple[str, ...]
    data: Mapping[str, Any]
    retry_after: int | None
    rule: str | None
    specifics: Mapping[str, Any]
    recurs: bool

    def __init__(
        self,
        code: ErrorCode,
        detail: str | None = None,
        *,
        log: str | None = None,
        shape: Shape | None = None,
        status: int | None = None,
        scopes: tuple[str, ...] = (),
        data: Mapping[str, Any] | None = None,
        retry_after: int | None = None,
        rule: str | None = None,
        specifics: Mapping[str, Any] | None = None,
        recurs: bool = False,
    ) -> None:
        super().__init__(code.id)
        row = code.row
        shape = shape or row.shape
        self.__dict__.update(
            code=code,
            detail=detail or row.sentence,
            log=log,
            shape=shape,
            status=status or (row.status if shape is row.shape else _status(row, shape)),
            scopes=scopes,
            data=MappingProxyType({**data}) if data else _NOTHING,
            retry_after=retry_after,
            rule=rule,
            specifics=MappingProxyType({**specifics}) if specifics else _NOTHING,
            recurs=recurs,
        )

    def __setattr__(self, name: str, value: object) -> None:
        # contextlib sets `__traceback__` of exceptions that pass through it.
        if not name.startswith("__"):
            raise AttributeError(f"a refusal is immutable: make a new one with replace({name}=...)")
        super().__setattr__(name, value)

    def replace(self, **changes: Any) -> Refusal:
        """Return a new refusal with some parameters changed; it recurs only if that is one of them."""
        return type(self)(**{**self.__dict__, "recurs": False, **changes})

    @property
    def gate(self) -> Gate:
        """Gate that refused the request."""
        return self.code.row.gate


def _status(row: Row, shape: Shape) -> int:
    """Return the HTTP status of a refusal in another shape than its row's."""
    if shape is Shape.TOOL_RESULT:
        return 200
    if shape is Shape.CHALLENGE:
        return 401
    return row.status


@record
class ShadowRefusal:
    """Refusal that a rule in shadow mode would have made; the call was not refused by it.

    Attributes:
        rule: `file:line` of the rule.
        code: the code that the caller would have received.
        detail: the sentence of the refusal, where it tells more than the code; it names no value of the call.
        quota: name of the quota that would have refused; empty for a rule of another kind.
    """

    rule: str
    code: ErrorCode
    detail: str | None = None
    quota: str = ""
