"""Approvals are bound to their call and caller, and each is used once."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import redis

from sidecar.approval import ApprovalStatus, ApprovalUse, ConfirmBy
from sidecar.ledger.approval_records import MAX_PENDING, Approval
from sidecar.model import AdmissionCode, Caller
from sidecar.store.commands import approvals, changes, scripts
from tests.store.commands.approval_cases import BOB, HANDLES, OTHER, free_application, priced, question, use
from tests.store.support import CALLER, KEYS, NOW, RealLedger, application, demand
from tests.support.store import StoreServer


@pytest.fixture
def ledger(store_server: StoreServer) -> Any:
    with store_server.client() as client:
        client.flushall()
    with RealLedger.of_account(store_server) as real:
        yield real


def asked_of(ledger: RealLedger, handle: str, **changes: Any) -> Approval:
    asked = question(handle, **changes)
    return approvals.was_asked(asked, ledger.run(approvals.ask(asked)))


def code_of(ledger: RealLedger, call: str, claimed: ApprovalUse, caller: Caller = CALLER) -> AdmissionCode:
    return ledger.admit(free_application(call, caller=caller, approval=claimed)).code


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"tool": "other"}, AdmissionCode.APPROVAL_NEEDED),
        ({"arguments": "a2"}, AdmissionCode.APPROVAL_NEEDED),
        ({"rule": "r2"}, AdmissionCode.APPROVAL_NEEDED),
        ({"accepted": False}, AdmissionCode.APPROVAL_NEEDED),
        ({"handle": "f" * 32}, AdmissionCode.APPROVAL_UNKNOWN),
        ({}, AdmissionCode.ADMITTED),
    ],
)
def test_an_approval_is_bound_to_its_call(ledger: RealLedger, changed: dict[str, Any], code: AdmissionCode):
    asked_of(ledger, HANDLES[1])
    assert code_of(ledger, "c1", replace(use(HANDLES[1]), **changed)) is code


@pytest.mark.parametrize("caller", [BOB, OTHER, replace(CALLER, account="other"), replace(CALLER, issuer_id="x")])
def test_an_approval_is_bound_to_its_caller(ledger: RealLedger, caller: Caller):
    asked_of(ledger, HANDLES[1])
    ledger.run(changes.grant(caller.issuer_id, caller.account, caller.subject, caller.client_id))
    assert code_of(ledger, "c1", use(HANDLES[1]), caller) is AdmissionCode.APPROVAL_UNKNOWN
    assert code_of(ledger, "c2", use(HANDLES[1])) is AdmissionCode.ADMITTED


def test_of_many_racing_calls_one_uses_the_approval(store_server: StoreServer, ledger: RealLedger):
    asked = question(HANDLES[2])
    ledger.run_unpatched(approvals.ask(asked))

    def call(number: int) -> AdmissionCode:
        mine = application(f"r{number}", approval=use(HANDLES[2]))
        with redis.Redis(unix_socket_path=str(store_server.path)) as client:
            return scripts.admitted(mine, client.execute_command(*scripts.admit(mine).words())).code

    with ThreadPoolExecutor(8) as pool:
        codes = Counter(pool.map(call, range(40)))
    assert codes == {AdmissionCode.ADMITTED: 1, AdmissionCode.APPROVAL_UNKNOWN: 39}


def test_a_full_account_loses_the_approval_that_was_not_used_for_longest(ledger: RealLedger):
    handles = [f"{number:032x}" for number in range(100, 100 + MAX_PENDING)]
    for number, handle in enumerate(handles):
        ledger.set_clock(NOW + number)
        asked_of(ledger, handle)
    ledger.set_clock(NOW + 1000)
    ledger.run(approvals.answer(KEYS, handles[0], "ann", True))  # used again: no longer the oldest
    asked_of(ledger, HANDLES[3])
    kept = {each.handle for each in approvals.found(ledger.run(approvals.listed(KEYS)))}
    assert kept == {*handles, HANDLES[3]} - {handles[1]}
    assert not ledger.client.exists(KEYS.approval(handles[1]))


def test_a_page_is_not_answered_by_the_client(ledger: RealLedger):
    asked_of(ledger, HANDLES[4], by=ConfirmBy.PAGE)
    for handle in (HANDLES[4], None):
        assert code_of(ledger, "c1", use(handle)) is AdmissionCode.APPROVAL_NEEDED
    ledger.run(approvals.answer(KEYS, HANDLES[4], "ann", True))
    assert code_of(ledger, "c2", use(None, accepted=False)) is AdmissionCode.ADMITTED
    assert code_of(ledger, "c3", use(None, accepted=False)) is AdmissionCode.APPROVAL_NEEDED


def test_an_identical_question_of_the_page_is_asked_once(ledger: RealLedger):
    first = asked_of(ledger, HANDLES[4], by=ConfirmBy.PAGE)
    ledger.set_clock(NOW + 1000)
    again = asked_of(ledger, HANDLES[5], by=ConfirmBy.PAGE)
    assert (again.handle, again.expires_at) == (first.handle, first.expires_at)
    assert asked_of(ledger, HANDLES[6], by=ConfirmBy.PAGE, arguments="a2").handle == HANDLES[6]


def test_another_subject_neither_answers_nor_learns_of_it(ledger: RealLedger):
    asked_of(ledger, HANDLES[1])
    assert ledger.run(approvals.answer(KEYS, HANDLES[1], "bob", True)) is None
    assert approvals.found(ledger.run(approvals.find(KEYS, HANDLES[1])))[0].status is ApprovalStatus.PENDING


def test_the_first_answer_counts(ledger: RealLedger):
    asked_of(ledger, HANDLES[1])
    for accepted in (False, True):
        reply = ledger.run(approvals.answer(KEYS, HANDLES[1], "ann", accepted))
        assert approvals.answered(reply) is ApprovalStatus.DECLINED
    assert code_of(ledger, "c1", use(HANDLES[1])) is AdmissionCode.APPROVAL_DECLINED


@pytest.mark.parametrize("spoilt", [{"expires": "soon"}, {"prices": "{"}, {"prices": "[1]"}, {"status": "yes"}])
def test_a_record_that_was_edited_approves_nothing(ledger: RealLedger, spoilt: dict[str, str]):
    asked_of(ledger, HANDLES[1], prices=priced(("contact", 1)))
    ledger.client.hset(KEYS.approval(HANDLES[1]), mapping=spoilt)
    ledger.run(changes.change_credits("main", "acme", "grant", "contact", 5, operation="o", create=True))
    asked = free_application("c1", demand("contact"), approval=use(HANDLES[1]))
    assert ledger.admit(asked).code is not AdmissionCode.ADMITTED
    assert ledger.state().holds == {}


@pytest.mark.parametrize("word", ["", "A" * 32, "0" * 31, "0" * 33, "0" * 31 + "}", "..", "0" * 32 + "\n"])
def test_only_handles_become_part_of_a_key(word: str):
    assert not approvals.is_handle(word)
    for make in (lambda: approvals.find(KEYS, word), lambda: approvals.answer(KEYS, word, "ann", True)):
        with pytest.raises(ValueError, match="handle"):
            make()
