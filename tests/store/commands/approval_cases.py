"""Questions, and calls that claim their approvals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sidecar.approval import ApprovalUse, ConfirmBy
from sidecar.ledger.approval_records import Approval
from sidecar.model import AmountKind, Application, Caller, Demand, Price
from tests.store.support import CALLER, TERMS, application

BOB = replace(CALLER, subject="bob")
OTHER = replace(CALLER, client_id="https://other")
HANDLES = [f"{number:032x}" for number in range(7)]


def question(handle: str, caller: Caller = CALLER, **changes: Any) -> Approval:
    values: dict[str, Any] = {
        "tool": "reveal",
        "title": "Reveal",
        "message": "Reveal 2 contacts?",
        "prices": (),
        "arguments": "a1",
        "rule": "r1",
        "by": ConfirmBy.PERSON,
    }
    owner = (caller.issuer_id, caller.subject, caller.account, caller.client_id)
    return Approval(handle, *owner, **(values | changes))


def priced(*amounts: tuple[str, int]) -> tuple[Price, ...]:
    kinds = {"contact": AmountKind.CREDIT}
    return tuple(Price(kinds.get(name, AmountKind.QUOTA), name, units, 9) for name, units in amounts)


def use(handle: str | None, **changes: Any) -> ApprovalUse:
    values: dict[str, Any] = {"tool": "reveal", "arguments": "a1", "rule": "r1", "accepted": True}
    return ApprovalUse(handle, **(values | changes))


def free_application(call: str, *demands: Demand, **changes: Any) -> Application:
    return application(call, *demands, terms=replace(TERMS, scopes=()), **changes)
