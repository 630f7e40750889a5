"""The settlement table: every way in which a call can end, and what it costs then (contract, section 5).

Pure data. `docs/settlement.md` prints it, and `tests/settlement` runs each row against real processes. That
`settlement.action` and the scripts do what it says is for tests to hold: it is written down here on its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from sidecar.model import OnUnknown
from sidecar.outcome import Event


class Cost(Enum):
    """What is charged of an amount that is not fixed: a credit, an item, or a quota unit that the result counts."""

    TRUE = "true price"
    RESERVED = "what was reserved"
    NOTHING = "nothing"


class Theme(Enum):
    """What the end of a call is about; the value heads its part of the table."""

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
class Ending:
    """One row: a way in which a call can end.

    Attributes:
        name: what its tests say that they test.
        theme: the part of the table that it stands in.
        words: what an operator would say has happened.
        events: what becomes of the call; of one that is deferred or whose owner has died, what follows too.
        costs: what is charged, by the tool's `on_unknown`.
        charge_errors: whether the tool charges its own errors.
        sent: whether the call is taken to have been sent: then a fixed quota amount stays used up.
        expired: whether it is resolved because its lease has ended, and not by its owner.
        late: whether a settle comes after that, is recorded, and changes nothing.
        held: whether anything was ever reserved; else the journal has nothing of the call.
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
        """The entries that the account's journal has of the call, by the tool's `on_unknown`."""
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


def _unsent(name: str, theme: Theme, words: str, *, held: bool = True) -> Ending:
    return Ending(name, theme, words, (_NOT_SENT,), _NOTHING, sent=False, held=held)


def _died(name: str, theme: Theme, words: str, *, late: bool = False) -> Ending:
    return Ending(name, theme, words, (_DIED,), _UNKNOWN, expired=True, late=late)


ENDINGS: Final[tuple[Ending, ...]] = (
    Ending("result", _T.ANSWER, "A result, as JSON or as an event", (_R,), _TRUE),
    Ending("result_then_broken", _T.ANSWER, "A result, and whatever goes wrong after it", (_R,), _TRUE),
    Ending("tool_error", _T.ANSWER, "A result with `isError`", (Event.TOOL_ERROR,), _NOTHING),
    Ending(
        "tool_error_charged",
        _T.ANSWER,
        "The same, with `charge_errors: true`",
        (Event.TOOL_ERROR,),
        _TRUE,
        charge_errors=True,
    ),
    Ending("rpc_error", _T.ANSWER, "A JSON-RPC error", (Event.RPC_ERROR,), _NOTHING),
    Ending("input_required", _T.ANSWER, "A result of type `input_required`", (Event.INPUT_REQUIRED,), _NOTHING),
    Ending("input_given", _T.ANSWER, "Its retry with that input, a call of its own: the result", (_R,), _TRUE),
    Ending("task_started", _T.TASK, "A task, of which nothing more is heard", (Event.TASK_STARTED,), _RESERVED),
    Ending("task_completed", _T.TASK, "It is completed, and its result fetched", (Event.TASK_STARTED,), _RESERVED),
    Ending("task_failed", _T.TASK, "It fails", (Event.TASK_STARTED,), _RESERVED),
    Ending("task_cancelled", _T.TASK, "It is cancelled", (Event.TASK_STARTED,), _RESERVED),
    Ending("task_unasked", _T.TASK, "A task where none are served, so nobody could follow it", (_UNUSABLE,), _UNKNOWN),
    Ending("http_3xx", _T.STATUS, "3xx; it is not followed, the client gets 502", (Event.HTTP_REFUSED,), _NOTHING),
    Ending("http_4xx", _T.STATUS, "400, 404, 429 and other 4xx; they are relayed", (Event.HTTP_REFUSED,), _NOTHING),
    Ending("http_login", _T.STATUS, "401, 403 or 407; the client gets 502", (Event.HTTP_REFUSED,), _NOTHING),
    Ending("http_5xx", _T.STATUS, "5xx", (Event.HTTP_FAILED,), _UNKNOWN),
    Ending("wrong_type", _T.UNUSABLE, "Neither JSON nor an event stream, or nothing at all", (_UNUSABLE,), _UNKNOWN),
    Ending("invalid_json", _T.UNUSABLE, "JSON that is none, or no JSON-RPC response", (_UNUSABLE,), _UNKNOWN),
    Ending("other_id", _T.UNUSABLE, "The response to another request", (_UNUSABLE,), _UNKNOWN),
    Ending("coded", _T.UNUSABLE, "A content coding that nobody asked for", (_UNUSABLE,), _UNKNOWN),
    Ending("too_large", _T.UNUSABLE, "More than `limits.response`, whole or streamed", (Event.TOO_LARGE,), _RESERVED),
    _unsent("connect_refused", _T.CONNECTION, "Refused"),
    _unsent("connect_timeout", _T.CONNECTION, "Not there within `backend.connect_timeout`, TLS included"),
    _unsent("name_unknown", _T.CONNECTION, "The backend's name has no address"),
    _unsent("tls_failed", _T.CONNECTION, "TLS fails"),
    Ending("reset", _T.CONNECTION, "Reset after sending, before an answer", (_GONE,), _UNKNOWN),
    Ending("closed", _T.CONNECTION, "Closed after sending, without an answer", (_GONE,), _UNKNOWN),
    Ending("json_cut", _T.CONNECTION, "Closed or reset within a JSON answer", (_GONE,), _UNKNOWN),
    _unsent("timed_out_unsent", _T.TIME, "The call's `timeout` is over before it was sent"),
    Ending("timed_out", _T.TIME, "No answer within the call's `timeout`", (_TIMED_OUT,), _UNKNOWN),
    Ending("timed_out_stream", _T.TIME, "A stream, but no result within the `timeout`", (_TIMED_OUT,), _UNKNOWN),
    Ending("idle", _T.TIME, "Silence on the stream for `backend.idle_timeout`", (_TIMED_OUT,), _UNKNOWN),
    Ending("stream_cut", _T.STREAM, "It breaks without the response", (_GONE,), _UNKNOWN),
    Ending("stream_ended", _T.STREAM, "It ends cleanly without the response", (_ENDED,), _RESERVED),
    Ending("resumed", _T.RESUMED, "The result passes on the resumed stream", (_D, _R), _TRUE),
    Ending("resumed_elsewhere", _T.RESUMED, "The same, in another sidecar", (_D, _R), _TRUE),
    Ending("resumed_twice", _T.RESUMED, "The same, in two sidecars at once", (_D, _R), _TRUE),
    Ending("resumed_tool_error", _T.RESUMED, "A result with `isError` passes there", (_D, Event.TOOL_ERROR), _NOTHING),
    Ending("resumed_rpc_error", _T.RESUMED, "A JSON-RPC error passes there", (_D, Event.RPC_ERROR), _NOTHING),
    Ending(
        "resumed_other_stream",
        _T.RESUMED,
        "The response passes on another stream of the session; it could be an earlier request's of the same id",
        (_D, _ENDED),
        _RESERVED,
    ),
    Ending("not_resumed", _T.RESUMED, "Nobody comes back before the lease ends", (_D,), _RESERVED, expired=True),
    Ending("resumed_late", _T.RESUMED, "The result passes after that", (_D,), _RESERVED, expired=True),
    _unsent("left_unadmitted", _T.CLIENT, "Left before the call was admitted"),
    _unsent("left_unsent", _T.CLIENT, "2026-07-28: left before the call was sent"),
    Ending("left_read_on", _T.CLIENT, "Before 2026-07-28: left; the call is read on to its result", (_R,), _TRUE),
    Ending("left_cancels", _T.CLIENT, "2026-07-28: left before the result, which cancels", (_LEFT,), _RESERVED),
    Ending("left_after", _T.CLIENT, "Left after the result, while the stream is open", (_R,), _TRUE),
    Ending("cancelled_result", _T.CLIENT, "Cancelled by notification; the result comes all the same", (_R,), _TRUE),
    Ending("cancelled_error", _T.CLIENT, "The same; a JSON-RPC error or a 4xx comes", (_LEFT,), _RESERVED),
    Ending("cancelled_broken", _T.CLIENT, "The same; the stream ends or breaks", (_LEFT,), _RESERVED),
    Ending("cancelled_silent", _T.CLIENT, "The same; nothing comes for five seconds", (_LEFT,), _RESERVED),
    Ending("session_deleted", _T.CLIENT, "The session is deleted; then an error or nothing", (_LEFT,), _RESERVED),
    Ending("listen_spoken", _T.LISTEN, "The backend has said something on it", (_R,), _TRUE),
    Ending("listen_silent", _T.LISTEN, "It is still open, and silent, after the `timeout` of a call", (_R,), _TRUE),
    Ending("listen_refused", _T.LISTEN, "A JSON-RPC error", (Event.RPC_ERROR,), _NOTHING),
    Ending("stopped_in_time", _T.STOPPED, "The call finishes within `shutdown_grace`", (_R,), _TRUE),
    Ending("stopped_working", _T.STOPPED, "The call does not", (_DIED,), _UNKNOWN),
    Ending("stopped_resumable", _T.STOPPED, "Nor does it, but it can be resumed", (_D,), _RESERVED, expired=True),
    _died("killed_unadmitted", _T.KILLED, "Before it has read that the call is admitted"),
    _died("killed_unsent", _T.KILLED, "Before the call was sent"),
    _died("killed_sent", _T.KILLED, "After the call was sent"),
    _died("killed_unsettled", _T.KILLED, "After the result, before the settle has reached the store"),
    Ending("killed_settled", _T.KILLED, "After the settle, before the result was relayed", (_R,), _TRUE),
    Ending(
        "killed_resumed",
        _T.KILLED,
        "After sending; the result passes on another stream of the session before the lease ends",
        (_DIED, _D),
        _RESERVED,
        expired=True,
    ),
    _died("killed_resumed_late", _T.KILLED, "The same, after the lease has ended"),
    _died("hung_unsent", _T.KILLED, "It hangs before the call was sent, and goes on after: nothing is sent"),
    _died("hung_sent", _T.KILLED, "It hangs after that, and goes on with a settle that comes too late", late=True),
    _unsent("admission_unanswered", _T.STORE, "It does not answer the admission in time: refused"),
    _unsent("admission_late", _T.STORE, "The admission arrives after the call was given up", held=False),
    Ending("settle_unanswered", _T.STORE, "The answer to the settle is lost: it is given again", (_R,), _TRUE),
    Ending("store_killed", _T.STORE, "It dies before the settle, and comes back", (_R,), _TRUE),
    Ending("store_paused", _T.STORE, "It hangs before the settle, and goes on", (_R,), _TRUE),
    _died(
        "both_killed", _T.STORE, "It dies before the settle; so does the sidecar, or it waits five seconds when stopped"
    ),
)
"""Every row, in the order of the themes."""

BY_NAME: Final[Mapping[str, Ending]] = {ending.name: ending for ending in ENDINGS}
