"""Question of the sidecar within an `input_required` result (2026-07-28): its state, and the answer in the retry.

Keys and states of the sidecar have a prefix of their own, so they are never taken for the backend's, and never
forwarded (2026-07-28, basic/patterns/mrtr, client/elicitation).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from sidecar.protocol.elicitation.elicitation import METHOD, AnswerAction, action_of
from sidecar.protocol.meta import CAPABILITIES_KEY
from sidecar.vocabulary import TextEnum

OWN: Final = "mcp-policy-sidecar/"
"""Prefix of every state that the sidecar hands out."""
OWN_INPUT: Final = f"{OWN}confirmation"
"""Key of the sidecar's question in `inputRequests`, and of its answer in `inputResponses`."""

_HANDLE: Final = re.compile("[0-9a-f]{32}")


class FormAnswer(TextEnum):
    """Answer of a person to the sidecar's question."""

    NONE = "none"
    ACCEPTED = "accept"
    DECLINED = "decline"  # or dismissed
    UNREADABLE = "unreadable"


def declared_by(params: Mapping[str, Any]) -> object:
    """Return the capabilities that a request of 2026-07-28 declares."""
    meta = params.get("_meta")
    return meta.get(CAPABILITIES_KEY) if isinstance(meta, Mapping) else None


def state_of(handle: str) -> str:
    """Return the `requestState` of an approval."""
    return OWN + handle


def is_own(state: object) -> bool:
    """Return True for a state that only the sidecar can have handed out."""
    return isinstance(state, str) and state.startswith(OWN)


def handle_of(state: str) -> str | None:
    """Return the handle of an approval; None for a state that the sidecar has not handed out."""
    handle = state.removeprefix(OWN)
    return handle if state.startswith(OWN) and _HANDLE.fullmatch(handle) else None


def own_answer(responses: Mapping[str, Any]) -> FormAnswer:
    """Return the answer to the sidecar's question."""
    if OWN_INPUT not in responses:
        return FormAnswer.NONE
    action = action_of(responses[OWN_INPUT])
    if action is None:
        return FormAnswer.UNREADABLE
    return FormAnswer.ACCEPTED if action is AnswerAction.ACCEPT else FormAnswer.DECLINED


def embedded(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return a question as a member of `inputRequests`.

    Args:
        params: its parameters (`elicitation.form`, `elicitation.page`).
    """
    return {"method": METHOD, "params": params}
