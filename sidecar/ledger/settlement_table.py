"""Settlement table: every way in which a call can end, and its cost (contract, section 5).

Pure data. `docs/settlement.md` prints it, and `tests/settlement` runs each row against real processes. It is
independent of `settlement.action` and the scripts, so that tests can compare them with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from sidecar.model import OnUnknown
from sidecar.outcome import Event


class Cost(Enum):
    """Charge for an amount that is not fixed: a credit, an item, or a quota unit that the result counts."""

    TRUE = "true price"
    RESERVED = "what was reserved"
    NOTHING = "nothing"


class Theme(Enum):
    """Group of rows; the value is its heading in the table."""

    PERSON = "A person is asked to confirm the call"
    ANSWER = "The backend answers"
    TASK = "The backend hands back a task"
    STATUS = "The backend answers with another HTTP status than 2xx"
    UNUSABLE = "The backend answers 2xx with something else"
    CONNECTION = "The connection to the backend"
    TIME = "Time"
    STREAM = "The stream ends early, and cannot be resumed"
    RESUMED = "The stream ends early, breaks or times out, and can be resumed: event ids, on a session"
    CLIENT = "The client leaves or cancels"
    LISTEN = "`subscriptions/listen`, where the policy sets a price"
    STOPPED = "The sidecar is stopped (SIGTERM)"
    KILLED = "The sidecar dies (SIGKILL) or hangs (SIGSTOP), and its lease ends"
    STORE = "The store is lost"


@dataclass(frozen=True, slots=True)
class SettlementRow:
    """Row of the table: one way in which a call can end.

    Attributes:
        name: name that its tests refer to.
        theme: group that the row belongs to.
        words: description for operators.
        events: events of the call; for a deferred call or a dead owner, also the events that follow.
        costs: charge, by the tool's `on_unknown`.
        charge_errors: whether the tool charges its own errors.
        sent: whether the call counts as sent: then a fixed quota amount stays charged.
        expired: whether the lease expired and another process resolved the call.
        late: whether a settle arrives after that; it is recorded and changes nothing.
        held: whether units were ever reserved; otherwise the journal has no entry of the call.
    """

    name: str
    theme: Theme
    words: str
    events: tuple[Event, ...]
    costs: Mapping[OnUnknown, Cost] = field(repr=False)
    charge_errors: bool = False
    sent: bool = True
    expired: bool = False
    late: bool = False
    held: bool = True

    @property
    def journal(self) -> Mapping[OnUnknown, tuple[str, ...]]:
        """Return the journal entries of the call, by the tool's `on_unknown`."""
        late = ("late",) if self.late else ()
        if not self.held:
            return dict.fromkeys(OnUnknown, late)
        return {
            on_unknown: ("released" if cost is Cost.NOTHING else "settled", *late)
            for on_unknown, cost in self.costs.items()
        }


_TRUE: Final = dict.fromkeys(OnUnknown, Cost.TRUE)
_RESERVED: Final = dict.fromkeys(OnUnknown, Cost.RESERVED)
_NOTHING: Final = dict.fromkeys(OnUnknown, Cost.NOTHING)
_UNKNOWN: Final = {OnUnknown.RELEASE: Cost.NOTHING, OnUnknown.SETTLE: Cost.RESERVED}

_R, _D = Event.RESULT, Event.DEFERRED
_GONE, _ENDED, _TIMED_OUT = Event.BACKEND_GONE, Event.STREAM_ENDED, Event.TIMED_OUT
_UNUSABLE, _NOT_SENT, _LEFT, _DIED = Event.UNUSABLE, Event.NOT_SENT, Event.CLIENT_GONE, Event.OWNER_DIED
_T = Theme


def _unsent(name: str, theme: Theme, words: str, *, held: bool = True) -> SettlementRow:
    return SettlementRow(name, theme, words, (_NOT_SENT,), _NOTHING, sent=False, held=held)


def _died(name: str, theme: Theme, words: str, *, late: bool = False) -> SettlementRow:
    return SettlementRow(name, theme, words, (_DIED,), _UNKNOWN, expired=True, late=late)


ENDINGS: Final[tuple[SettlementRow, ...]] = (
    _unsent("confirmation_asked", _T.PERSON, "The question is asked; no answer comes", held=False),
    _unsent("confirmation_declined", _T.PERSON, "It is declined, or dismissed", held=False),
    _unsent("confirmation_unavailable", _T.PERSON, "The client cannot ask it", held=False),
    _unsent("confirmation_expired", _T.PERSON, "It is accepted after its end, or a second time", held=False),
    SettlementRow("confirmation_accepted", _T.PERSON, "It is accepted in time: the result", (_R,), _TRUE),
    SettlementRow(
        "confirmation_carried",
        _T.PERSON,
        "It is accepted; the backend answers `input_required`",
        (Event.INPUT_REQUIRED,),
        _NOTHING,
    ),
    SettlementRow("result", _T.ANSWER, "A result, as JSON or as an event", (_R,), _TRUE),
    SettlementRow("result_then_broken", _T.ANSWER, "A result, followed by any failure", (_R,), _TRUE),
    SettlementRow("tool_error", _T.ANSWER, "A result with `isError`", (Event.TOOL_ERROR,), _NOTHING),
    SettlementRow(
        "tool_error_charged",
        _T.ANSWER,
        "The same, with `charge_errors: true`",
        (Event.TOOL_ERROR,),
        _TRUE,
        charge_errors=True,
    ),
    SettlementRow("rpc_error", _T.ANSWER, "A JSON-RPC error", (Event.RPC_ERROR,), _NOTHING),
    SettlementRow("input_required", _T.ANSWER, "A result of type `input_required`", (Event.INPUT_REQUIRED,), _NOTHING),
    SettlementRow("input_given", _T.ANSWER, "Its retry with that input, a call of its own: the result", (_R,), _TRUE),
    SettlementRow("task_started", _T.TASK, "A task that is never heard of again", (Event.TASK_STARTED,), _RESERVED),
    SettlementRow(
        "task_completed", _T.TASK, "It is completed, and its result fetched", (Event.TASK_STARTED,), _RESERVED
    ),
    SettlementRow("task_failed", _T.TASK, "It fails", (Event.TASK_STARTED,), _RESERVED),
    SettlementRow("task_cancelled", _T.TASK, "It is cancelled", (Event.TASK_STARTED,), _RESERVED),
    SettlementRow(
        "task_unasked",
        _T.TASK,
        "A task where none are served: its result cannot be fetched",
        (_UNUSABLE,),
        _UNKNOWN,
    ),
    SettlementRow(
        "http_3xx", _T.STATUS, "3xx; it is not followed, the client gets 502", (Event.HTTP_REFUSED,), _NOTHING
    ),
    SettlementRow(
        "http_4xx",
        _T.STATUS,
        "400, 404, 405, 406, 411, 413, 415, 421, 422, 429 or 431; they are relayed",
        (Event.HTTP_REFUSED,),
        _NOTHING,
    ),
    SettlementRow("http_login", _T.STATUS, "401 or 403; the client gets 502", (Event.HTTP_REFUSED,), _NOTHING),
    SettlementRow(
        "http_4xx_unknown",
        _T.STATUS,
        "Any other 4xx, such as 408, 409 or 499; it is relayed (407: the client gets 502)",
        (Event.HTTP_FAILED,),
        _UNKNOWN,
    ),
    SettlementRow("http_5xx", _T.STATUS, "5xx", (Event.HTTP_FAILED,), _UNKNOWN),
    SettlementRow(
        "wrong_type", _T.UNUSABLE, "Neither JSON nor an event stream, or nothing at all", (_UNUSABLE,), _UNKNOWN
    ),
    SettlementRow("invalid_json", _T.UNUSABLE, "JSON that is none, or no JSON-RPC response", (_UNUSABLE,), _UNKNOWN),
    SettlementRow("other_id", _T.UNUSABLE, "The response to another request", (_UNUSABLE,), _UNKNOWN),
    SettlementRow("coded", _T.UNUSABLE, "A content coding that the request does not accept", (_UNUSABLE,), _UNKNOWN),
    SettlementRow(
        "too_large",
        _T.UNUSABLE,
        "More than `limits.response`, whole or streamed, or than `limits.memory` has room for",
        (Event.TOO_LARGE,),
        _RESERVED,
    ),
    _unsent("connect_refused", _T.CONNECTION, "Refused"),
    _unsent("connect_timeout", _T.CONNECTION, "Not established within `backend.connect_timeout`, TLS included"),
    _unsent("name_unknown", _T.CONNECTION, "The backend's name has no address"),
    _unsent("tls_failed", _T.CONNECTION, "TLS fails"),
    SettlementRow("reset", _T.CONNECTION, "Reset after sending, before an answer", (_GONE,), _UNKNOWN),
    SettlementRow("closed", _T.CONNECTION, "Closed after sending, without an answer", (_GONE,), _UNKNOWN),
    SettlementRow("json_cut", _T.CONNECTION, "Closed or reset within a JSON answer", (_GONE,), _UNKNOWN),
    _unsent("timed_out_unsent", _T.TIME, "The call's `timeout` expires before it is sent"),
    SettlementRow("timed_out", _T.TIME, "No answer within the call's `timeout`", (_TIMED_OUT,), _UNKNOWN),
    SettlementRow("timed_out_stream", _T.TIME, "A stream, but no result within the `timeout`", (_TIMED_OUT,), _UNKNOWN),
    SettlementRow("idle", _T.TIME, "Silence on the stream for `backend.idle_timeout`", (_TIMED_OUT,), _UNKNOWN),
    SettlementRow("stream_cut", _T.STREAM, "It breaks without the response", (_GONE,), _UNKNOWN),
    SettlementRow("stream_ended", _T.STREAM, "It ends cleanly without the response", (_ENDED,), _RESERVED),
    SettlementRow("resumed", _T.RESUMED, "The result passes on the resumed stream", (_D, _R), _TRUE),
    SettlementRow("resumed_elsewhere", _T.RESUMED, "The same, in another sidecar", (_D, _R), _TRUE),
    SettlementRow("resumed_twice", _T.RESUMED, "The same, in two sidecars at once", (_D, _R), _TRUE),
    SettlementRow(
        "resumed_tool_error", _T.RESUMED, "A result with `isError` passes there", (_D, Event.TOOL_ERROR), _NOTHING
    ),
    SettlementRow("resumed_rpc_error", _T.RESUMED, "A JSON-RPC error passes there", (_D, Event.RPC_ERROR), _NOTHING),
    SettlementRow(
        "resumed_other_stream",
        _T.RESUMED,
        "The response passes on another stream of the session; it could be an earlier request's of the same id",
        (_D, _ENDED),
        _RESERVED,
    ),
    SettlementRow(
        "not_resumed", _T.RESUMED, "No client resumes it before the lease expires", (_D,), _RESERVED, expired=True
    ),
    SettlementRow(
        "resumed_late", _T.RESUMED, "The result passes after the lease has expired", (_D,), _RESERVED, expired=True
    ),
    _unsent("left_unadmitted", _T.CLIENT, "Disconnected before the call was admitted"),
    _unsent("left_unsent", _T.CLIENT, "2026-07-28: disconnected before the call was sent"),
    SettlementRow(
        "left_read_on", _T.CLIENT, "Before 2026-07-28: disconnected; the sidecar reads on to the result", (_R,), _TRUE
    ),
    SettlementRow(
        "left_cancels", _T.CLIENT, "2026-07-28: disconnected before the result: cancelled", (_LEFT,), _RESERVED
    ),
    SettlementRow("left_after", _T.CLIENT, "Disconnected after the result, while the stream is open", (_R,), _TRUE),
    SettlementRow(
        "cancelled_result", _T.CLIENT, "Cancelled by notification; the result comes all the same", (_R,), _TRUE
    ),
    SettlementRow("cancelled_error", _T.CLIENT, "The same; a JSON-RPC error or a 4xx comes", (_LEFT,), _RESERVED),
    SettlementRow("cancelled_broken", _T.CLIENT, "The same; the stream ends or breaks", (_LEFT,), _RESERVED),
    SettlementRow("cancelled_silent", _T.CLIENT, "The same; nothing comes for five seconds", (_LEFT,), _RESERVED),
    SettlementRow(
        "session_deleted", _T.CLIENT, "The session is deleted; then an error or nothing", (_LEFT,), _RESERVED
    ),
    SettlementRow("listen_spoken", _T.LISTEN, "The backend has sent something on it", (_R,), _TRUE),
    SettlementRow(
        "listen_silent", _T.LISTEN, "It is still open, and silent, after the `timeout` of a call", (_R,), _TRUE
    ),
    SettlementRow("listen_refused", _T.LISTEN, "A JSON-RPC error", (Event.RPC_ERROR,), _NOTHING),
    SettlementRow("stopped_in_time", _T.STOPPED, "The call finishes within `shutdown_grace`", (_R,), _TRUE),
    SettlementRow("stopped_working", _T.STOPPED, "The call does not finish in time", (_DIED,), _UNKNOWN),
    SettlementRow(
        "stopped_resumable", _T.STOPPED, "Nor does it, but its stream can be resumed", (_D,), _RESERVED, expired=True
    ),
    _died("killed_unadmitted", _T.KILLED, "Before it has read that the call is admitted"),
    _died("killed_unsent", _T.KILLED, "Before the call was sent"),
    _died("killed_sent", _T.KILLED, "After the call was sent"),
    _died("killed_unsettled", _T.KILLED, "After the result, before the settle has reached the store"),
    SettlementRow("killed_settled", _T.KILLED, "After the settle, before the result was relayed", (_R,), _TRUE),
    SettlementRow(
        "killed_resumed",
        _T.KILLED,
        "After sending; the result passes on another stream of the session before the lease ends",
        (_DIED, _D),
        _RESERVED,
        expired=True,
    ),
    _died("killed_resumed_late", _T.KILLED, "The same, after the lease has ended"),
    _died("hung_unsent", _T.KILLED, "It hangs before the call was sent, and continues later: nothing is sent"),
    _died("hung_sent", _T.KILLED, "It hangs after that, and continues with a settle that is late", late=True),
    _unsent("admission_unanswered", _T.STORE, "It does not answer the admission in time: refused"),
    _unsent("admission_late", _T.STORE, "The admission arrives after the call was given up", held=False),
    SettlementRow("settle_unanswered", _T.STORE, "The reply to the settle is lost: it is retried", (_R,), _TRUE),
    SettlementRow("store_killed", _T.STORE, "It dies before the settle, and restarts", (_R,), _TRUE),
    SettlementRow("store_paused", _T.STORE, "It hangs before the settle, and continues", (_R,), _TRUE),
    _died(
        "both_killed",
        _T.STORE,
        "It dies before the settle; so does the sidecar, or it is stopped and gives up after five seconds",
    ),
)
"""Every row, in the order of the themes."""

BY_NAME: Final[Mapping[str, SettlementRow]] = {ending.name: ending for ending in ENDINGS}
