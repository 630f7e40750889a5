"""Refusals of the store as responses to the caller: code, shape, sentence and machine detail (contract, section 4).

Pure. Sentences name quotas, pools, windows and plans, which the policy declares; they never name an item or argument.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any, Final

from sidecar.errors import ErrorCode, Refusal, Shape
from sidecar.model import AdmissionCode, AdmissionReply, AmountKind, Application, Price
from sidecar.terms import ConsentMode

REQUEST_IN_FLIGHT: Final = "A request with this id is in flight on this session."

_Maker = Callable[[AdmissionReply, Application, str | None], Refusal]


def refusal(admission: AdmissionReply, application: Application, manage_url: str | None) -> Refusal | None:
    """Return the refusal for an admission reply; None when the call is admitted.

    Args:
        admission: reply of the store.
        application: application that was sent.
        manage_url: page where account holders approve clients, if the policy has one.
    """
    make = _MAKERS.get(admission.code)
    return None if make is None else make(admission, application, manage_url)


def with_price(refused: Refusal, prices: Iterable[Price]) -> Refusal:
    """Add the prices of the call to a request for confirmation; return other refusals unchanged."""
    shown = tuple(prices)
    if refused.code is not ErrorCode.CONFIRMATION_REQUIRED or not shown:
        return refused
    sentence = cost(shown)
    return refused.replace(
        detail=refused.detail if sentence is None else f"{refused.detail} {sentence}",
        data={**refused.data, "prices": [_facts(price) for price in shown]},
    )


def cost(prices: Iterable[Price]) -> str | None:
    """Return `It costs 2 of your 5 contact credits.`; None when the call costs no credits."""
    credits = [price for price in prices if price.kind is AmountKind.CREDIT]
    if not credits:
        return None
    parts = [f"{price.needed} of your {price.left} {price.name} credits" for price in credits]
    return f"It costs {' and '.join(parts)}."


_NARROW: Final = "The account holder's consent does not include every scope that this operation needs: {}."


# --- one per code ------------------------------------------------------------------------------


def _session_unknown(admission: AdmissionReply, application: Application, manage_url: str | None) -> Refusal:
    return Refusal(ErrorCode.SESSION_UNKNOWN)


def _task_unknown(admission: AdmissionReply, application: Application, manage_url: str | None) -> Refusal:
    return Refusal(ErrorCode.TASK_UNKNOWN)


def _consent_missing(admission: AdmissionReply, application: Application, manage_url: str | None) -> Refusal:
    detail = _with_remedy(ErrorCode.CONSENT_MISSING.row.sentence, "Approve it", application, manage_url)
    return Refusal(ErrorCode.CONSENT_MISSING, detail, data=_manage_data(manage_url))


def _consent_revoked(admission: AdmissionReply, application: Application, manage_url: str | None) -> Refusal:
    # A login lifts a revocation only where approvals are mirrored into the store, and only for a token that was
    # issued before it; otherwise clients would open the browser at every call.
    if _written_since(admission, application):
        return Refusal(ErrorCode.CONSENT_REVOKED, shape=Shape.CHALLENGE, data=_manage_data(manage_url))
    detail = _with_remedy(ErrorCode.CONSENT_REVOKED.row.sentence, "Approve it again", application, manage_url)
    return Refusal(ErrorCode.CONSENT_REVOKED, detail, data=_manage_data(manage_url))


def _consent_scopes(admission: AdmissionReply, application: Application, manage_url: str | None) -> Refusal:
    wanted = tuple(granting[0] for granting in application.terms.scopes)
    had = (scope for scope in sorted(application.caller.scopes) if scope not in wanted)
    return Refusal(
        ErrorCode.INSUFFICIENT_SCOPE,
        _with_remedy(_NARROW.format(" ".join(wanted)), "Approve them", application, manage_url),
        shape=None if _written_since(admission, application) else Shape.TOOL_RESULT,
        scopes=(*wanted, *had),
        data=_manage_data(manage_url),
    )


def _account_unknown(admission: AdmissionReply, application: Application, manage_url: str | None) -> Refusal:
    return Refusal(ErrorCode.ACCOUNT_UNKNOWN)


def _account_disabled(admission: AdmissionReply, application: Application, manage_url: str | None) -> Refusal:
    return Refusal(ErrorCode.ACCOUNT_DISABLED)


def _plan_required(admission: AdmissionReply, application: Application, manage_url: str | None) -> Refusal:
    return Refusal(ErrorCode.PLAN_REQUIRED, data={"plan": admission.plan})


def _quota_exceeded(admission: AdmissionReply, application: Application, manage_url: str | None) -> Refusal:
    price = _refused(admission)
    fits = price.limit is not None and price.needed <= price.limit
    detail = (
        f"This call needs {price.needed} of the quota {price.name}; {price.left} of {price.limit} "
        f"per {price.window} are left"
    )
    detail += f"; the quota resets in {_duration(price.resets_in)}." if fits else ", so it can never fit: ask for less."
    return Refusal(
        ErrorCode.QUOTA_EXCEEDED,
        detail,
        data=_facts(price),
        retry_after=price.resets_in if fits else None,
        specifics=_specifics("quota", price),
    )


def _insufficient_credits(admission: AdmissionReply, application: Application, manage_url: str | None) -> Refusal:
    price = _refused(admission)
    detail = f"This call costs {price.needed} {price.name} credits, and the account has {price.left}."
    data = _facts(price) | _manage_data(manage_url)
    return Refusal(ErrorCode.INSUFFICIENT_CREDITS, detail, data=data, specifics=_specifics("pool", price))


def _resolved_already(admission: AdmissionReply, application: Application, manage_url: str | None) -> Refusal:
    return Refusal(
        ErrorCode.STORE_UNAVAILABLE, log="the admission reached the store after the call was given up", retry_after=1
    )


def _request_in_flight(admission: AdmissionReply, application: Application, manage_url: str | None) -> Refusal:
    return Refusal(ErrorCode.MESSAGE_MALFORMED, REQUEST_IN_FLIGHT)


def _approval_unknown(admission: AdmissionReply, application: Application, manage_url: str | None) -> Refusal:
    return Refusal(ErrorCode.CONFIRMATION_EXPIRED)


def _approval_declined(admission: AdmissionReply, application: Application, manage_url: str | None) -> Refusal:
    return Refusal(ErrorCode.CONFIRMATION_DECLINED)


def _approval_needed(admission: AdmissionReply, application: Application, manage_url: str | None) -> Refusal:
    return with_price(Refusal(ErrorCode.CONFIRMATION_REQUIRED), admission.prices)


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
    AdmissionCode.APPROVAL_UNKNOWN: _approval_unknown,
    AdmissionCode.APPROVAL_DECLINED: _approval_declined,
    AdmissionCode.APPROVAL_NEEDED: _approval_needed,
}


def _written_since(admission: AdmissionReply, application: Application) -> bool:
    """Return whether the record is newer than the token, in a mode where a login rewrites it."""
    since = admission.consent_since  # whole seconds, like `iat`: within the same second a login may still lift it
    if application.terms.consent is not ConsentMode.REQUIRED or since is None:
        return False
    return since >= application.caller.issued_at


def _refused(admission: AdmissionReply) -> Price:
    if admission.refused is None:
        raise ValueError("the admission does not say which amount it refused")
    return admission.prices[admission.refused]


def _facts(price: Price) -> dict[str, Any]:
    """Return the machine detail of one amount, without unknown values."""
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


def _specifics(kind: str, price: Price) -> dict[str, Any]:
    """Return the amount that was refused, for the log; `resets` is in seconds."""
    found = {
        kind: price.name,
        "needed": price.needed,
        "left": price.left,
        "limit": price.limit,
        "window": price.window,
        "resets": price.resets_in,
    }
    return {key: value for key, value in found.items() if value is not None}


def _with_remedy(sentence: str, remedy: str, application: Application, manage_url: str | None) -> str:
    """Add the remedies to a sentence: people see only the text, `_meta` is for machines.

    A client that refreshes its token at every 401 reaches no login until it is disconnected. Under `first_use` no
    login writes a consent, so only the page helps.
    """
    place = "where the clients of this account are managed" if manage_url is None else f"at {manage_url}"
    if application.terms.consent is not ConsentMode.REQUIRED:
        return f"{sentence} {remedy} {place}"
    return f"{sentence} {remedy} {place}, or disconnect this client and connect it again."


def _manage_data(manage_url: str | None) -> dict[str, Any]:
    return {} if manage_url is None else {"manage_url": manage_url}


_UNITS: Final = ((86_400, " day"), (3_600, " h"), (60, " min"), (1, " s"))


def _duration(seconds: int | None) -> str:
    """Return `1 day 22 h`: the two largest units, rounded up to the smaller, so that waiting is long enough."""
    left = seconds or 0
    for (size, name), (smaller, rest_name) in pairwise(_UNITS):
        count, rest = divmod(-(-left // smaller) * smaller, size)
        if count:
            plural = "s" if size == _UNITS[0][0] and count > 1 else ""
            return f"{count}{name}{plural}" + (f" {rest // smaller}{rest_name}" if rest else "")
    return f"{left} s"
