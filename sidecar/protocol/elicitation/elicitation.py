"""Elicitation in the form of each revision: the client's capability, the question, and the client's answer.

Request ids of the sidecar have a prefix of their own, then a random handle: a response to one is taken by the sidecar
and never forwarded, and any sidecar finds the question by the handle. Two questions about one approval have two ids.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from sidecar.model import RequestId, Revision
from sidecar.vocabulary import TextEnum

METHOD: Final = "elicitation/create"
COMPLETED: Final = "notifications/elicitation/complete"
CANCELLED: Final = "notifications/cancelled"

QUESTION_PREFIX: Final = "mcp-policy-sidecar/confirmation/"
"""Prefix of the ids of the sidecar's own requests to clients."""

_ASKED: Final = re.compile(r"([0-9a-f]{32})\.[0-9a-f]{32}")
_URL_SINCE: Final = Revision.V2025_11_25.value
_FORM_SINCE: Final = Revision.V2025_06_18.value
# No input is requested: the action of the answer is the confirmation.
_NO_INPUT: Final[Mapping[str, Any]] = {"type": "object", "properties": {}}


class ElicitationMode(TextEnum):
    """Way in which a client can ask its user."""

    FORM = "form"
    URL = "url"


class AnswerAction(TextEnum):
    """Reaction of a person to a question; in URL mode, accept means only that the page may be opened."""

    ACCEPT = "accept"
    DECLINE = "decline"
    CANCEL = "cancel"  # dismissed without a choice


Modes = frozenset[ElicitationMode]
NO_MODES: Final[Modes] = frozenset()

_FORM_ONLY: Final[Modes] = frozenset({ElicitationMode.FORM})


def declared_modes(capabilities: object) -> Modes:
    """Return the modes that a client declares.

    Args:
        capabilities: the client's, from `initialize` or from a request's `_meta`.
    """
    declared = capabilities.get("elicitation") if isinstance(capabilities, dict) else None
    if not isinstance(declared, dict):
        return NO_MODES
    modes = frozenset(mode for mode in ElicitationMode if isinstance(declared.get(mode.value), dict))
    # 2025-11-25, client/elicitation: an empty object is equivalent to form mode.
    return modes if modes or not declared.keys().isdisjoint(ElicitationMode) else _FORM_ONLY


def usable_modes(declared: Modes, revision: Revision) -> Modes:
    """Return those of the declared modes that the revision of a call has; 2025-06-18 has form mode only."""
    if revision.value < _FORM_SINCE:
        return NO_MODES
    return declared if revision.value >= _URL_SINCE else declared & _FORM_ONLY


def written_modes(modes: Modes) -> str:
    """Return modes as a session's record keeps them: names with spaces between."""
    return " ".join(sorted(modes))


def read_modes(text: str) -> Modes:
    """Return the modes in a session's record; unknown names are ignored."""
    return frozenset(mode for mode in ElicitationMode if mode.value in text.split())


def form(message: str, revision: Revision) -> dict[str, Any]:
    """Return the parameters of a question in form mode, which a person accepts or declines.

    Args:
        message: the text to show.
        revision: the revision of the call; 2025-06-18 has no member `mode`.
    """
    mode = {} if revision.value < _URL_SINCE else {"mode": ElicitationMode.FORM.value}
    return {**mode, "message": message, "requestedSchema": dict(_NO_INPUT)}


def page(message: str, url: str, handle: str, revision: Revision) -> dict[str, Any]:
    """Return the parameters of a question in URL mode.

    Args:
        message: the text to show before the page is opened.
        url: the page.
        handle: the id by which a notification reports its completion; 2026-07-28 has none.
        revision: the revision of the call, 2025-11-25 or later.
    """
    id_ = {} if revision.stateless else {"elicitationId": handle}
    return {"mode": ElicitationMode.URL.value, "message": message, "url": url, **id_}


def request(id_: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the question as a request of the server, for a session's stream."""
    return {"jsonrpc": "2.0", "id": id_, "method": METHOD, "params": params}


def completed(handle: str) -> dict[str, Any]:
    """Return the notification that a question in URL mode has been answered on its page (2025-11-25)."""
    return {"jsonrpc": "2.0", "method": COMPLETED, "params": {"elicitationId": handle}}


def withdrawn(id_: str, reason: str) -> dict[str, Any]:
    """Return the notification that the sidecar no longer waits for an answer (basic/utilities/cancellation)."""
    return {"jsonrpc": "2.0", "method": CANCELLED, "params": {"requestId": id_, "reason": reason}}


def question_id(handle: str, number: str) -> str:
    """Return the request id of a question.

    Args:
        handle: handle of the approval.
        number: random (`random_ids.random_id`): no id is used twice in a session (basic, requests).
    """
    return f"{QUESTION_PREFIX}{handle}.{number}"


def is_question_id(id_: RequestId | None) -> bool:
    """Return True for an id in the namespace of the sidecar's own requests."""
    return isinstance(id_, str) and id_.startswith(QUESTION_PREFIX)


def asked_handle(id_: RequestId | None) -> str | None:
    """Return the handle in the id of a question; None for any other id."""
    asked = (
        _ASKED.fullmatch(id_.removeprefix(QUESTION_PREFIX)) if isinstance(id_, str) and is_question_id(id_) else None
    )
    return None if asked is None else asked[1]


def answer_of(response: Mapping[str, Any]) -> AnswerAction | None:
    """Return the answer in a client's response; None when it is an error, or no answer.

    Args:
        response: the whole message.
    """
    return action_of(response.get("result"))


def action_of(result: object) -> AnswerAction | None:
    """Return the action of an elicitation's result; None when it cannot be read with certainty.

    Any input is ignored: none was requested.
    """
    if not isinstance(result, dict) or not isinstance(result.get("content", {}), dict | None):
        return None
    action = result.get("action")
    return _ACTIONS.get(action) if isinstance(action, str) else None


_ACTIONS: Final = {action.value: action for action in AnswerAction}
