"""Approvals of calls by a person: asked for, answered, used once by an admission, given back when nothing was sent.

Pure. This is the model of `lua/approval.lua` and the scripts that include it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from sidecar.approval import ApprovalStatus, ApprovalUse, ConfirmBy
from sidecar.model import AdmissionCode, Caller, Price

APPROVAL_LIFE: Final = 300_000
"""Milliseconds from the question to the end of its approval, on the store's clock."""

MAX_PENDING: Final = 50
"""Most approvals of an account that are not used yet; above it, the least recently used is evicted."""


@dataclass(frozen=True, slots=True)
class Approval:
    """Question to a person about one call, and its answer.

    Attributes:
        handle: random name of the approval, 32 hexadecimal digits.
        issuer_id: issuer of the account; with `subject`, `account` and `client_id` the caller that it is bound to.
        tool: name of the tool.
        title: title of the tool, for people.
        message: the text that describes the call, with its arguments escaped and cut.
        prices: the amounts shown; each is an upper bound of the call's.
        arguments: digest of the completed arguments.
        rule: digest of the tool's compiled rule.
        by: whose answer counts.
        expires_at: milliseconds since the epoch on the store's clock.
        status: its state.
        call: the call that has used it.
        carried: the backend's own `requestState` that this approval replaces on the client's side.
        used_at: time of the question or answer, in milliseconds since the epoch.
    """

    handle: str
    issuer_id: str
    subject: str
    account: str
    client_id: str
    tool: str
    title: str
    message: str
    prices: tuple[Price, ...]
    arguments: str
    rule: str
    by: ConfirmBy
    expires_at: int = 0
    status: ApprovalStatus = ApprovalStatus.PENDING
    call: str | None = None
    carried: str | None = None
    used_at: int = 0

    def answers(self, use: ApprovalUse) -> bool:
        """Return True when it is for the same tool, arguments and rule."""
        return (self.tool, self.arguments, self.rule) == (use.tool, use.arguments, use.rule)

    def covers(self, prices: tuple[Price, ...]) -> bool:
        """Return True when no price is higher than the one shown."""
        return len(prices) == len(self.prices) and all(
            (now.kind, now.name) == (shown.kind, shown.name) and now.needed <= shown.needed
            for now, shown in zip(prices, self.prices, strict=True)
        )


def judge(
    known: Mapping[str, Approval], use: ApprovalUse, caller: Caller, call: str, prices: tuple[Price, ...], now: int
) -> tuple[AdmissionCode, Approval | None]:
    """Return whether a call has the approval that it claims, and the approval.

    Args:
        known: the account's approvals by handle.
        use: the claim.
        caller: the caller.
        call: id of the call; a repeated admission finds its own approval used.
        prices: the amounts that the call would reserve.
        now: milliseconds since the epoch.
    """
    found = _claimed(known, use, caller, now)
    if found is None or (found.status is ApprovalStatus.USED and found.call != call):
        return (AdmissionCode.APPROVAL_NEEDED if use.handle is None else AdmissionCode.APPROVAL_UNKNOWN), None
    if found.status is ApprovalStatus.DECLINED:
        return AdmissionCode.APPROVAL_DECLINED, found
    if not found.answers(use):
        return AdmissionCode.APPROVAL_NEEDED, found
    if found.status is ApprovalStatus.PENDING and not (use.accepted and found.by is ConfirmBy.PERSON):
        return AdmissionCode.APPROVAL_NEEDED, found
    return (AdmissionCode.ADMITTED if found.covers(prices) else AdmissionCode.APPROVAL_NEEDED), found


def _claimed(known: Mapping[str, Approval], use: ApprovalUse, caller: Caller, now: int) -> Approval | None:
    """Return the approval that a call claims; an approval of another caller is unknown to it."""
    if use.handle is not None:
        found = known.get(use.handle)
        return found if found is not None and _is_open(found, caller, now) else None
    mine = (each for each in known.values() if _is_open(each, caller, now) and each.by is ConfirmBy.PAGE)
    same = [each for each in mine if each.answers(use) and each.status is not ApprovalStatus.USED]
    return max(same, key=_standing, default=None)


def _standing(approval: Approval) -> tuple[bool, int, str]:
    """Return the rank among approvals of one call: one that was answered, then the latest."""
    return approval.status is not ApprovalStatus.PENDING, approval.used_at, approval.handle


def _is_open(approval: Approval, caller: Caller, now: int) -> bool:
    mine = (approval.subject, approval.client_id) == (caller.subject, caller.client_id)
    return mine and approval.expires_at > now


def ask(known: dict[str, Approval], asked: Approval, now: int) -> Approval:
    """Add a question, and return it with its times; evict the least recently used ones of a full account.

    A question for the account page that is already pending for an identical call is returned instead.
    """
    for handle in [each.handle for each in known.values() if each.expires_at <= now]:
        del known[handle]
    if asked.by is ConfirmBy.PAGE and asked.status is ApprovalStatus.PENDING:
        same = [each for each in known.values() if _is_same_question(each, asked)]
        if same:
            latest = max(same, key=lambda each: (each.used_at, each.handle))
            known[latest.handle] = replace(latest, used_at=now)
            return known[latest.handle]
    waiting = [each for each in known.values() if each.status is not ApprovalStatus.USED]
    waiting.sort(key=lambda each: (each.used_at, each.handle))
    for each in waiting[: max(0, len(waiting) - MAX_PENDING + 1)]:
        del known[each.handle]
    known[asked.handle] = replace(asked, used_at=now, expires_at=now + APPROVAL_LIFE)
    return known[asked.handle]


def _is_same_question(one: Approval, other: Approval) -> bool:
    return (
        one.status is ApprovalStatus.PENDING
        and one.by is ConfirmBy.PAGE
        and (one.subject, one.client_id, one.tool) == (other.subject, other.client_id, other.tool)
        and (one.arguments, one.rule, one.prices) == (other.arguments, other.rule, other.prices)
    )


def answer(
    known: dict[str, Approval], handle: str, subject: str, answered: ApprovalStatus, now: int, client_id: str = ""
) -> ApprovalStatus | None:
    """Accept or decline a pending approval; return its state, None for one that the subject or client has not.

    The first answer counts.
    """
    found = known.get(handle)
    if found is None or found.subject != subject or found.expires_at <= now or client_id not in ("", found.client_id):
        return None
    if found.status is ApprovalStatus.PENDING:
        known[handle] = found = replace(found, status=answered, used_at=now)
    return found.status


def give_back(known: dict[str, Approval], call: str, now: int) -> None:
    """Make the approval usable again that a call has used, of which nothing was sent.

    The store finds one that the call claimed without its handle only among the `MAX_PENDING` that were so used last.
    """
    for handle, found in known.items():
        if found.status is ApprovalStatus.USED and found.call == call and found.expires_at > now:
            known[handle] = replace(found, status=ApprovalStatus.ACCEPTED, call=None, used_at=now)
            return
