"""Gate 4 of a tool that a person confirms: the approval that a call claims, or the reason for which it needs one.

In 2026-07-28 each request declares the client's capabilities and carries the answer of the person. A session has
declared them once: the step that asks reads them (`proxy.confirming`), and here its calls always need an approval.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import orjson

from sidecar.approval import ApprovalUse, ConfirmBy
from sidecar.errors import ErrorCode, Refusal
from sidecar.model import Call
from sidecar.policy.confirming.confirm_rule import Confirm
from sidecar.protocol.elicitation import embedded_question
from sidecar.protocol.elicitation.elicitation import ElicitationMode, Modes, declared_modes
from sidecar.protocol.elicitation.embedded_question import FormAnswer
from sidecar.vocabulary import record

_DIGEST: Final = 32  # hexadecimal digits
_NOTHING: Final[Mapping[str, Any]] = {}


@record
class Claim:
    """Result of gate 4 for a call that a person confirms.

    Attributes:
        refusal: None when the call may be admitted, with the approval that it claims.
        use: the approval that the call claims or needs; None where the client cannot ask.
    """

    refusal: Refusal | None
    use: ApprovalUse | None


def claim_of(confirm: Confirm, tool: str, call: Call, given: Mapping[str, Any], exact: Mapping[str, Any]) -> Claim:
    """Judge the confirmation of a call.

    Args:
        confirm: the tool's rule, which asks a person.
        tool: the tool's name.
        call: the call.
        given: its arguments as given.
        exact: its completed arguments as they are forwarded.
    """
    state, responses = call.params.get("requestState"), call.params.get("inputResponses", _NOTHING)
    handle = None if state is None else embedded_question.handle_of(state)
    asks = not call.revision.stateless or can_ask(confirm, declared_modes(embedded_question.declared_by(call.params)))
    # A backend's own state is not carried for a call that an argument has confirmed.
    if state is not None and handle is None and (asks or embedded_question.is_own(state)):
        return Claim(_refused(confirm, ErrorCode.CONFIRMATION_EXPIRED), None)
    answer = embedded_question.own_answer(responses) if handle is not None else FormAnswer.NONE
    use = ApprovalUse(handle, tool, digest_of(confirm, exact), confirm.digest, accepted=answer is FormAnswer.ACCEPTED)
    if answer is FormAnswer.UNREADABLE:
        return Claim(
            _refused(confirm, ErrorCode.PARAMS_MALFORMED, "The answer to the confirmation is malformed."), None
        )
    if answer is FormAnswer.DECLINED:
        return Claim(_refused(confirm, ErrorCode.CONFIRMATION_DECLINED), use)
    on_page = confirm.by is ConfirmBy.PAGE and (asks or not confirm.is_argument_true(given))
    if handle is not None or on_page:  # the page may have been answered before, whatever the client can do
        return Claim(None, use)
    if not asks:
        return without_asking(confirm, given)
    return Claim(_refused(confirm, ErrorCode.CONFIRMATION_REQUIRED), use)


def can_ask(confirm: Confirm, modes: Modes) -> bool:
    """Return True when a client with these modes of elicitation can put the question of this rule to a person."""
    return (ElicitationMode.URL if confirm.by is ConfirmBy.PAGE else ElicitationMode.FORM) in modes


def without_asking(confirm: Confirm, given: Mapping[str, Any]) -> Claim:
    """Judge the call of a client that cannot ask a person: by the argument, where the rule falls back to it."""
    if confirm.argument is None:
        return Claim(_refused(confirm, ErrorCode.CONFIRMATION_UNAVAILABLE), None)
    return Claim(None if confirm.is_argument_true(given) else argument_missing(confirm), None)


def argument_missing(confirm: Confirm) -> Refusal:
    """Return the refusal of a call without the argument that confirms it."""
    data = {"confirm": {"argument": confirm.argument}}
    specifics = {"argument": f"arguments.{confirm.argument}", "keyword": "confirm"}
    return Refusal(ErrorCode.CONFIRMATION_REQUIRED, confirm.message, data=data, rule=confirm.rule, specifics=specifics)


def digest_of(confirm: Confirm, exact: Mapping[str, Any]) -> str:
    """Return the digest of completed arguments as they are forwarded, in any order of their names.

    The argument that clients fall back to is left out: it says nothing about the call.
    """
    judged = {name: value for name, value in exact.items() if name != confirm.argument}
    return hashlib.sha256(orjson.dumps(judged, option=orjson.OPT_SORT_KEYS)).hexdigest()[:_DIGEST]


def stripped(confirm: Confirm, document: Mapping[str, Any], use: ApprovalUse | None) -> Mapping[str, Any]:
    """Return the message to forward, without the answer and the state that are the sidecar's own.

    An argument of the backend's own that confirms the call is set: the person has confirmed.
    """
    params = dict(document["params"])
    if use is not None:
        params.pop("requestState", None)
    responses = params.get("inputResponses")
    if responses is not None:
        others = {key: value for key, value in responses.items() if key != embedded_question.OWN_INPUT}
        if others:
            params["inputResponses"] = others
        else:
            del params["inputResponses"]
    if use is not None and confirm.argument is not None and not confirm.inject:
        params["arguments"] = {**params.get("arguments", _NOTHING), confirm.argument: True}
    return {**document, "params": params}


def _refused(confirm: Confirm, code: ErrorCode, detail: str | None = None) -> Refusal:
    return Refusal(code, detail, rule=confirm.rule, specifics={"keyword": "confirm"})
