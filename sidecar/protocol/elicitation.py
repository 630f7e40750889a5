"""Elicitation of a confirmation: client capabilities, the form, and the answer and state that are the sidecar's own.

Keys and states of the sidecar have a prefix of their own, so they are never taken for the backend's, and never
forwarded (2026-07-28, basic/patterns/mrtr, client/elicitation).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from sidecar.protocol.meta import CAPABILITIES_KEY
from sidecar.vocabulary import TextEnum

OWN: Final = "mcp-policy-sidecar/"
"""Prefix of every state that the sidecar hands out."""
OWN_INPUT: Final = f"{OWN}confirmation"
"""Key of the sidecar's question in `inputRequests`, and of its answer in `inputResponses`."""

_HANDLE: Final = re.compile("[0-9a-f]{32}")


class FormMode(TextEnum):
    """Modes of elicitation."""

    FORM = "form"
    URL = "url"


class FormAnswer(TextEnum):
    """Answer of a person to the sidecar's question."""

    NONE = "none"
    ACCEPTED = "accept"
    DECLINED = "decline"  # or dismissed
    UNREADABLE = "unreadable"


_ACTIONS: Final = {"accept": FormAnswer.ACCEPTED, "decline": FormAnswer.DECLINED, "cancel": FormAnswer.DECLINED}


def elicits(capabilities: object, mode: FormMode) -> bool:
    """Return True when a client's capabilities include elicitation in a mode; without any mode it is the form."""
    declared = capabilities.get("elicitation") if isinstance(capabilities, Mapping) else None
    if not isinstance(declared, Mapping):
        return False
    if mode is FormMode.FORM and not any(each.value in declared for each in FormMode):
        return True
    return isinstance(declared.get(mode.value), Mapping)


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
    response = responses[OWN_INPUT]
    action = response.get("action") if isinstance(response, Mapping) else None
    return _ACTIONS.get(action, FormAnswer.UNREADABLE) if isinstance(action, str) else FormAnswer.UNREADABLE


def form(message: str) -> dict[str, Any]:
    """Return the request for a person's decision: a form without fields, which is accepted or declined."""
    schema = {"type": "object", "properties": {}}
    params = {"mode": FormMode.FORM.value, "message": message, "requestedSchema": schema}
    return {"method": "elicitation/create", "params": params}
