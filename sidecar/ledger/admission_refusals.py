"""What an admission's refusal means to the caller: code, shape, sentence and machine detail (contract, section 4).

Pure. Sentences name quotas, pools, windows and plans, which the policy declares; never an item or an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from sidecar.errors import ErrorCode, Refusal, Shape
from sidecar.model import Admission, AdmissionCode, AmountKind, Application, ConsentMode, Price

REQUEST_IN_FLIGHT: Final = "A request with this id is in flight on this session."

_Maker = Callable[[Admission, Application, str | None], Refusal]


def refusal(admission: Admission, application: Application, manage_url: str | None) -> Refusal | None:
    """The refusal that an admission means; None when it admits.

    Args:
        admission: the store's answer.
        application: what was asked.
        manage_url: where account holders approve clients, if the policy says so.
    """
    make = _MAKERS.get(admission.code)
    return None if make is None else make(admission, application, manage_url)


def with_price(refused: Refusal, prices: Iterable[Price]) -> Refusal:
    """Let a confirmation name what it is asked for; other refusals stay as they are."""
    told = tuple(prices)
    if refused.code is not ErrorCode.CONFIRMATION_REQUIRED or not told:
        return refused
    sentence = cost(told)
    return Refusal(
        refused.code,
        refused.detail if sentence is None else f"{refused.detail} {sentence}",
        log=refused.log,
        shape=refused.shape,
        status=refused.status,
        scopes=refused.scopes,
        data={**refused.data, "prices": [_facts(price) for price in told]},
        retry_after=refused.retry_after,
        rule=refused.rule,
    )


def cost(prices: Iterable[Price]) -> str | None:
    """`It costs 2 of your 5 contact credits.`; None when it costs no credits."""
    credits = [price for price in prices if price.kind is AmountKind.CREDIT]
    if not credits:
        return None
    parts = [f"{price.needed} of your {price.left} {price.name} credits" for price in credits]
    return f"It costs {' and '.join(parts)}."


# --- one per code ------------------------------------------------------------------------------


def _session_unknown(admission: Admission, application: Application, manage_url: str | None) -> Refusal:
    return Refusal(ErrorCode.SESSION_UNKNOWN)


def _task_unknown(admission: Admission, application: Application, manage_url: str | None) -> Refusal:
    return Refusal(ErrorCode.TASK_UNKNOWN)


def _consent_missing(admission: Admission, application: Application, manage_url: str | None) -> Refusal:
    detail = _pointing(ErrorCode.CONSENT_MISSING, "Approve it at", manage_url)
    return Refusal(ErrorCode.CONSENT_MISSING, detail, data=_managed(manage_url))


def _consent_revoked(admission: Admission, application: Application, manage_url: str | None) -> Refusal:
    # A login cures a revocation only where approving again is mirrored into the store, and only if the
    # token is not already from after it; else clients would open the browser at every call.
    if _written_since(admission, application):
        return Refusal(ErrorCode.CONSENT_REVOKED, shape=Shape.CHALLENGE, data=_managed(manage_url))
    detail = _pointing(ErrorCode.CONSENT_REVOKED, "It can be approved again at", manage_url)
    return Refusal(ErrorCode.CONSENT_REVOKED, detail, data=_managed(manage_url))


def _consent_scopes(admission: Admission, application: Application, manage_url: str | None) -> Refusal:
    wanted = tuple(granting[0] for granting in application.terms.scopes)
    had = (scope for scope in sorted(application.caller.scopes) if scope not in wanted)
    return Refusal(
        ErrorCode.INSUFFICIENT_SCOPE,
        "The account holder's consent does not include a permission that this operation needs.",
        shape=None if _written_since(admission, application) else Shape.TOOL_RESULT,
        scopes=(*wanted, *had),
        data=_managed(manage_url),
    )


def _account_unknown(admission: Admission, application: Application, manage_url: str | None) -> Refusal:
    return Refusal(ErrorCode.ACCOUNT_UNKNOWN)


def _account_disabled(admission: Admission, application: Application, manage_url: str | None) -> Refusal:
    return Refusal(ErrorCode.ACCOUNT_DISABLED)


def _plan_required(admission: Admission, application: Application, manage_url: str | None) -> Refusal:
    return Refusal(ErrorCode.PLAN_REQUIRED, data={"plan": admission.plan})


def _quota_exceeded(admission: Admission, application: Application, manage_url: str | None) -> Refusal:
    price = _refused(admission)
    ever = price.limit is not None and price.needed <= price.limit
    detail = (
        f"This call needs {price.needed} of the quota {price.name}; {price.left} of {price.limit} "
        f"per {price.window} are left"
    )
    detail += f", and it starts anew in {price.resets_in} seconds." if ever else ", so it can never fit: ask for less."
    return Refusal(ErrorCode.QUOTA_EXCEEDED, detail, data=_facts(price), retry_after=price.resets_in if ever else None)


def _insufficient_credits(admission: Admission, application: Application, manage_url: str | None) -> Refusal:
    price = _refused(admission)
    detail = f"This call costs {price.needed} {price.name} credits, and the account has {price.left}."
    return Refusal(ErrorCode.INSUFFICIENT_CREDITS, detail, data=_facts(price) | _managed(manage_url))


def _resolved_already(admission: Admission, application: Application, manage_url: str | None) -> Refusal:
    return Refusal(
        ErrorCode.STORE_UNAVAILABLE, log="the admission reached the store after the call was given up", retry_after=1
    )


def _request_in_flight(admission: Admission, application: Application, manage_url: str | None) -> Refusal:
    return Refusal(ErrorCode.MESSAGE_MALFORMED, REQUEST_IN_FLIGHT)


_MAKERS: Final[dict[AdmissionCode, _Maker]] = {
    AdmissionCode.SESSION_UNKNOWN: _session_unknown,
    AdmissionCode.CONSENT_MISSING: _consent_missing,
    AdmissionCode.CONSENT_REVOKED: _consent_revoked,
    AdmissionCode.ACCOUNT_UNKNOWN: _account_unknown,
    AdmissionCode.ACCOUNT_DISABLED: _account_disabled,
    AdmissionCode.PLAN_REQUIRED: _plan_required,
    AdmissionCode.CONSENT_SCOPES: _consent_scopes,
    AdmissionCode.QUOTA_EXCEEDED: _quota_exceeded,
    AdmissionCode.INSUFFICIENT_CREDITS: _insufficient_credits,
    AdmissionCode.RESOLVED_ALREADY: _resolved_already,
    AdmissionCode.REQUEST_IN_FLIGHT: _request_in_flight,
    AdmissionCode.TASK_UNKNOWN: _task_unknown,
}


def _written_since(admission: Admission, application: Application) -> bool:
    """Whether the record was written after the token was issued, in a mode where a login rewrites it."""
    since = admission.consent_since  # whole seconds, like `iat`: within the same second a login may still cure
    if application.terms.consent is not ConsentMode.REQUIRED or since is None:
        return False
    return since >= application.caller.issued_at


def _refused(admission: Admission) -> Price:
    if admission.refused is None:
        raise ValueError("the admission does not say which amount it refused")
    return admission.prices[admission.refused]


def _facts(price: Price) -> dict[str, Any]:
    """What machines are told about one amount; what is unknown is left out."""
    if price.kind is AmountKind.CREDIT:
        facts = {"credit": price.name, "price": price.needed, "balance": price.left}
    else:
        facts = {
            "quota": price.name,
            "price": price.needed,
            "left": price.left,
            "limit": price.limit,
            "window": price.window,
        }
    return {key: value for key, value in {**facts, "resets_in": price.resets_in}.items() if value is not None}


def _pointing(code: ErrorCode, how: str, manage_url: str | None) -> str | None:
    """The code's sentence with the way out: people see the text alone, its `_meta` is for machines."""
    return None if manage_url is None else f"{code.row.sentence} {how} {manage_url}"


def _managed(manage_url: str | None) -> dict[str, Any]:
    return {} if manage_url is None else {"manage_url": manage_url}
