"""An approval whose call was not sent is given back by the release of the call: once, and while it has not expired."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from sidecar.approval import ConfirmBy
from sidecar.ledger.approval_records import APPROVAL_LIFE, MAX_PENDING
from sidecar.model import AdmissionCode, Application, Demand
from sidecar.store.commands import approvals, changes, scripts
from tests.store.commands.approval_cases import priced, use
from tests.store.commands.test_approvals import asked_of, code_of
from tests.store.support import KEYS, NOW, TERMS, RealLedger, application, demand
from tests.support.store import StoreServer

HANDLES = [f"{number:032x}" for number in range(4)]


@pytest.fixture
def ledger(store_server: StoreServer) -> Iterator[RealLedger]:
    with store_server.client() as client:
        client.flushall()
    with RealLedger.of_account(store_server) as real:
        yield real


def approved(call: str, *demands: Demand, **changed: Any) -> Application:
    return application(call, *demands, terms=replace(TERMS, scopes=()), **changed)


def used_on_page(ledger: RealLedger, handle: str, call: str) -> Application:
    """Use up an approval of the page, whose handle the call does not name."""
    asked_of(ledger, handle, by=ConfirmBy.PAGE)
    ledger.run(approvals.answer(KEYS, handle, "ann", True))
    made = approved(call, approval=use(None, accepted=False))
    assert ledger.admit(made).code is AdmissionCode.ADMITTED
    return made


def test_an_approval_is_given_back_once(ledger: RealLedger):
    asked_of(ledger, HANDLES[0])
    first = approved("c1", approval=use(HANDLES[0]))
    assert ledger.admit(first).code is AdmissionCode.ADMITTED
    ledger.run(scripts.release(first))
    assert code_of(ledger, "c2", use(HANDLES[0])) is AdmissionCode.ADMITTED
    ledger.run(scripts.release(first))  # retried: its answer was lost
    assert code_of(ledger, "c3", use(HANDLES[0])) is AdmissionCode.APPROVAL_UNKNOWN


def test_a_question_asked_before_the_release_does_not_hide_the_approval(ledger: RealLedger):
    lost = used_on_page(ledger, HANDLES[1], "c1")
    assert code_of(ledger, "c2", use(None, accepted=False)) is AdmissionCode.APPROVAL_NEEDED
    asked_of(ledger, HANDLES[2], by=ConfirmBy.PAGE)
    assert [each.handle for each in approvals.found(ledger.run(approvals.listed(KEYS)))] == [HANDLES[2]]
    ledger.run(scripts.release(lost))
    assert code_of(ledger, "c3", use(None, accepted=False)) is AdmissionCode.ADMITTED


def test_an_approval_that_has_expired_stays_used(ledger: RealLedger):
    lost = used_on_page(ledger, HANDLES[1], "c1")
    ledger.set_clock(NOW + APPROVAL_LIFE)
    ledger.run(scripts.release(lost))
    assert ledger.client.hget(KEYS.approval(HANDLES[1]), "status") == "used"


def test_a_call_that_was_forwarded_keeps_its_approval_used(ledger: RealLedger):
    sent = used_on_page(ledger, HANDLES[1], "c1")
    ledger.run(scripts.release(sent, forwarded=True))
    assert code_of(ledger, "c2", use(None, accepted=False)) is AdmissionCode.APPROVAL_NEEDED


def test_a_late_admission_does_not_use_an_approval_of_a_call_without_a_price(ledger: RealLedger):
    asked_of(ledger, HANDLES[0])
    late = approved("c1", approval=use(HANDLES[0]))
    ledger.run(scripts.release(late))
    assert ledger.admit(late).code is AdmissionCode.RESOLVED_ALREADY
    assert code_of(ledger, "c2", use(HANDLES[0])) is AdmissionCode.ADMITTED


def test_the_list_keeps_as_many_used_approvals_as_it_has_unused_ones_at_most(ledger: RealLedger):
    for number in range(MAX_PENDING + 1):
        ledger.set_clock(NOW + number)
        used_on_page(ledger, f"{200 + number:032x}", f"c{number}")
    asked_of(ledger, HANDLES[3])
    listed = {*ledger.client.zrange(KEYS.approvals, 0, -1)}
    assert listed == {*(f"{201 + number:032x}" for number in range(MAX_PENDING)), HANDLES[3]}


@pytest.mark.parametrize("corrupt", [KEYS.approvals, KEYS.approval(HANDLES[1])])
def test_a_corrupt_approval_keeps_no_hold_open(ledger: RealLedger, corrupt: str):
    ledger.run(changes.change_credits("main", "acme", "grant", "contact", 5, operation="o", create=True))
    asked_of(ledger, HANDLES[1], by=ConfirmBy.PAGE, prices=priced(("contact", 1)))
    ledger.run(approvals.answer(KEYS, HANDLES[1], "ann", True))
    asked = approved("c1", demand("contact"), approval=use(None, accepted=False))
    assert ledger.admit(asked).held
    ledger.client.set(corrupt, "no approval")
    assert not scripts.receipt(ledger.run(scripts.release(asked))).late
    assert ledger.state().holds == {}
