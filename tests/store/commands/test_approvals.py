"""Approvals: the Lua and the pure model agree in every order of questions, answers and calls; each is used once."""

from __future__ import annotations

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.approval import ApprovalStatus, ApprovalUse, ConfirmBy
from sidecar.ledger import admission, approval_records, settlement
from sidecar.ledger.accounts import AccountState, Consent
from sidecar.ledger.approval_records import APPROVAL_LIFE, MAX_PENDING, Approval
from sidecar.model import AdmissionCode, AmountKind, Application, Caller, Demand, Price
from sidecar.store.commands import approvals, changes, scripts
from sidecar.store.commands.approvals import parse_approval
from tests.store.support import CALLER, KEYS, LEASE, NOW, TERMS, RealLedger, application, demand
from tests.support.store import StoreServer

BOB = replace(CALLER, subject="bob")
OTHER = replace(CALLER, client_id="https://other")
CALLERS = (*(CALLER,) * 8, BOB, OTHER)
MET_LEAST = 10
WANTED = (
    *("admitted", "admitted free", "used before", "declined", "other arguments", "not answered", "dearer"),
    *("of another caller", "expired", "from the page", "given back", "reused question"),
    *("given back without a price", "given back from the page", "given back too late", "forwarded", "released before"),
)
_HANDLES = [f"{number:032x}" for number in range(7)]
_AMOUNTS = [(), (demand("contact"),), (demand("contact", 2), demand("rows", 1))]


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


class Both:
    """Does everything to the model and to the real scripts, and compares.

    Args:
        dice: choose the steps: drawn one by one they would use up what Hypothesis draws for a whole example.
    """

    def __init__(self, real: RealLedger, dice: random.Random, meter: Counter[str]) -> None:
        self.real, self.dice, self.meter = real, dice, meter
        self.now = NOW
        self.number = 0
        consents = {(each.subject, each.client_id): Consent(True, NOW) for each in CALLERS}
        self.model = AccountState(plan="growth", consents=consents, balances={"contact": 1000})
        self.model.totals = dict(self.model.balances)
        real.client.hset(KEYS.account, mapping={"plan": "growth"})
        for subject, client_id in consents:
            real.run(changes.grant("main", "acme", subject, client_id))
        real.run(changes.change_credits("main", "acme", "grant", "contact", 1000, operation="o", create=True))

    def step(self) -> None:
        self.dice.choice([self.ask, self.answer, self.answer, self.admit, self.admit, self.admit, self.pass_time])()
        self.same()

    def ask(self, handle: str | None = None, demands: tuple[Demand, ...] | None = None) -> None:
        dice = self.dice
        prices = dice.choice([(), (1,), (2, 1), (9, 9)]) if demands is None else [each.reserve for each in demands]
        by = ConfirmBy.PAGE if demands is not None and handle is None else dice.choice([*ConfirmBy][1:])
        carried = dice.choice([None, None, None, "state of the backend"])
        asked = question(
            handle or dice.choice(_HANDLES),
            dice.choice(CALLERS),
            arguments=dice.choice(["a1", "a1", "a1", "a2"]),
            by=by,
            prices=priced(*zip(("contact", "rows"), prices, strict=False)),
            carried=carried,
            status=ApprovalStatus.PENDING if carried is None else ApprovalStatus.ACCEPTED,
        )
        expected = approval_records.ask(self.model.approvals, asked, self.now)
        found = approvals.was_asked(asked, self.real.run(approvals.ask(asked)))
        assert (found.handle, found.expires_at) == (expected.handle, expected.expires_at)
        self.meter["reused question"] += found.handle != asked.handle

    def answer(self, handle: str | None = None) -> None:
        handle = handle or self.dice.choice([*self.model.approvals, "f" * 32])
        subject, accepted = self.dice.choice(["ann", "ann", "ann", "bob"]), self.dice.random() < 0.7
        word = ApprovalStatus.ACCEPTED if accepted else ApprovalStatus.DECLINED
        client = self.dice.choice(["", "", CALLER.client_id, OTHER.client_id])
        expected = approval_records.answer(self.model.approvals, handle, subject, word, self.now, client)
        assert approvals.answered(self.real.run(approvals.answer(KEYS, handle, subject, accepted, client))) == expected

    def admit(self) -> None:
        dice = self.dice
        handle, caller, demands = dice.choice([None, *_HANDLES]), dice.choice(CALLERS), dice.choice(_AMOUNTS)
        if self.coin():  # as most calls: about what was shown
            self.ask(handle, demands)
            if self.coin():
                self.answer(handle)
        changed = dice.choice([*({},) * 9, {"arguments": "a2"}, {"rule": "r2"}, {"tool": "other"}])
        claimed = use(handle, accepted=self.coin(), **changed)
        self.number += 1
        asked = _application(f"c{self.number}", *demands, caller=caller, dry_run=dice.random() < 0.2, approval=claimed)
        before = self.model.approvals.get(handle or "")
        late = dice.random() < 0.05  # it arrives after it was given up
        if late:
            self.meter["released before"] += 1
            self._release(asked, forwarded=False)
        expected, self.model = admission.admit(self.model, asked, self.now)
        assert scripts.admitted(asked, self.real.run(scripts.admit(asked))) == expected
        self._meet(before, expected.code, caller, claimed, bool(demands))
        if not late and dice.random() < 0.15:  # not beyond the outcome of a late one, which has the server's own clock
            self.pass_time(APPROVAL_LIFE)
        if dice.random() < (0.9 if handle is None else 0.3):
            self._release(asked, forwarded=False)
        elif expected.held:
            self._release(asked, forwarded=True)

    def pass_time(self, *passes: int) -> None:
        self.now += self.dice.choice(passes or [*(1, 1000, 1000, 60_000, 60_000) * 2, APPROVAL_LIFE - 1, APPROVAL_LIFE])
        self.real.set_clock(self.now)

    def coin(self) -> bool:
        return self.dice.random() < 0.5

    def same(self) -> None:
        stored = {}
        for key in self.real.client.scan_iter(KEYS.approval("*")):
            found = parse_approval(key.rpartition(":")[2], self.real.client.hgetall(key))
            assert found is not None
            stored[found.handle] = found
        assert _open(stored, self.now) == _open(self.model.approvals, self.now)

    def _release(self, asked: Application, *, forwarded: bool) -> None:
        """Release a call, now and then twice."""
        for _ in range(self.dice.choice([1, 1, 2])):
            before = self.model.approvals
            receipt, self.model = settlement.release(
                self.model, asked.call_id, forwarded=forwarded, now=self.now, lease=LEASE
            )
            assert scripts.receipt(self.real.run(scripts.release(asked, forwarded=forwarded))) == receipt
            self._meet_release(asked, before, forwarded)

    def _meet_release(self, asked: Application, before: dict[str, Approval], forwarded: bool) -> None:
        used = [each for each in before.values() if each.call == asked.call_id]
        back = [each for each in used if self.model.approvals[each.handle].status is ApprovalStatus.ACCEPTED]
        claim = asked.approval
        self.meter["given back"] += len(back)
        self.meter["given back without a price"] += len(back) and not asked.demands
        self.meter["given back from the page"] += len(back) and claim is not None and claim.handle is None
        self.meter["forwarded"] += len(used) and forwarded
        self.meter["given back too late"] += bool(used) and not back and not forwarded

    def _meet(
        self, before: Approval | None, code: AdmissionCode, caller: Caller, claimed: ApprovalUse, priced: bool
    ) -> None:
        admitted = code is AdmissionCode.ADMITTED
        self.meter["admitted"] += admitted
        self.meter["admitted free"] += admitted and not priced
        self.meter["declined"] += code is AdmissionCode.APPROVAL_DECLINED
        self.meter["from the page"] += admitted and claimed.handle is None
        if before is None or admitted:
            return
        mine = (before.subject, before.client_id) == (caller.subject, caller.client_id)
        self.meter["of another caller"] += not mine
        self.meter["expired"] += before.expires_at <= self.now
        if mine and before.expires_at > self.now:
            same = before.answers(claimed)
            self.meter["used before"] += before.status is ApprovalStatus.USED
            self.meter["other arguments"] += not same
            self.meter["not answered"] += before.status is ApprovalStatus.PENDING and same and not claimed.accepted
            self.meter["dearer"] += before.status is ApprovalStatus.ACCEPTED and same


def _open(known: dict[str, Approval], now: int) -> dict[str, Approval]:
    return {handle: each for handle, each in known.items() if each.expires_at > now}


def _application(call: str, *demands: Demand, **changes: Any) -> Application:
    return application(call, *demands, terms=replace(TERMS, scopes=()), **changes)


def test_the_lua_of_approvals_is_the_model(store_server: StoreServer):
    meter: Counter[str] = Counter()

    @settings(max_examples=80, deadline=None)
    @given(seed=st.integers(0, 2**20))
    def play(seed: int) -> None:
        with store_server.client() as client:
            client.flushall()
        real = RealLedger(store_server)
        try:
            both = Both(real, random.Random(seed), meter)
            for _ in range(150):
                both.step()
        finally:
            real.close()

    play()
    assert {what: meter[what] for what in WANTED if meter[what] < MET_LEAST} == {}


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
    return ledger.admit(_application(call, caller=caller, approval=claimed)).code


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
    asked_of(ledger, _HANDLES[1])
    assert code_of(ledger, "c1", replace(use(_HANDLES[1]), **changed)) is code


@pytest.mark.parametrize("caller", [BOB, OTHER, replace(CALLER, account="other"), replace(CALLER, issuer_id="x")])
def test_an_approval_is_bound_to_its_caller(ledger: RealLedger, caller: Caller):
    asked_of(ledger, _HANDLES[1])
    ledger.run(changes.grant(caller.issuer_id, caller.account, caller.subject, caller.client_id))
    assert code_of(ledger, "c1", use(_HANDLES[1]), caller) is AdmissionCode.APPROVAL_UNKNOWN
    assert code_of(ledger, "c2", use(_HANDLES[1])) is AdmissionCode.ADMITTED


def test_of_many_racing_calls_one_uses_the_approval(store_server: StoreServer, ledger: RealLedger):
    asked = question(_HANDLES[2])
    ledger.run_unpatched(approvals.ask(asked))

    def call(number: int) -> AdmissionCode:
        mine = application(f"r{number}", approval=use(_HANDLES[2]))
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
    asked_of(ledger, _HANDLES[3])
    kept = {each.handle for each in approvals.found(ledger.run(approvals.listed(KEYS)))}
    assert kept == {*handles, _HANDLES[3]} - {handles[1]}
    assert not ledger.client.exists(KEYS.approval(handles[1]))


def test_a_page_is_not_answered_by_the_client(ledger: RealLedger):
    asked_of(ledger, _HANDLES[4], by=ConfirmBy.PAGE)
    for handle in (_HANDLES[4], None):
        assert code_of(ledger, "c1", use(handle)) is AdmissionCode.APPROVAL_NEEDED
    ledger.run(approvals.answer(KEYS, _HANDLES[4], "ann", True))
    assert code_of(ledger, "c2", use(None, accepted=False)) is AdmissionCode.ADMITTED
    assert code_of(ledger, "c3", use(None, accepted=False)) is AdmissionCode.APPROVAL_NEEDED


def test_an_identical_question_of_the_page_is_asked_once(ledger: RealLedger):
    first = asked_of(ledger, _HANDLES[4], by=ConfirmBy.PAGE)
    ledger.set_clock(NOW + 1000)
    again = asked_of(ledger, _HANDLES[5], by=ConfirmBy.PAGE)
    assert (again.handle, again.expires_at) == (first.handle, first.expires_at)
    assert asked_of(ledger, _HANDLES[6], by=ConfirmBy.PAGE, arguments="a2").handle == _HANDLES[6]


def test_another_subject_neither_answers_nor_learns_of_it(ledger: RealLedger):
    asked_of(ledger, _HANDLES[1])
    assert ledger.run(approvals.answer(KEYS, _HANDLES[1], "bob", True)) is None
    assert approvals.found(ledger.run(approvals.find(KEYS, _HANDLES[1])))[0].status is ApprovalStatus.PENDING


def test_the_first_answer_counts(ledger: RealLedger):
    asked_of(ledger, _HANDLES[1])
    for accepted in (False, True):
        reply = ledger.run(approvals.answer(KEYS, _HANDLES[1], "ann", accepted))
        assert approvals.answered(reply) is ApprovalStatus.DECLINED
    assert code_of(ledger, "c1", use(_HANDLES[1])) is AdmissionCode.APPROVAL_DECLINED


@pytest.mark.parametrize("spoilt", [{"expires": "soon"}, {"prices": "{"}, {"prices": "[1]"}, {"status": "yes"}])
def test_a_record_that_was_edited_approves_nothing(ledger: RealLedger, spoilt: dict[str, str]):
    asked_of(ledger, _HANDLES[1], prices=priced(("contact", 1)))
    ledger.client.hset(KEYS.approval(_HANDLES[1]), mapping=spoilt)
    ledger.run(changes.change_credits("main", "acme", "grant", "contact", 5, operation="o", create=True))
    asked = _application("c1", demand("contact"), approval=use(_HANDLES[1]))
    assert ledger.admit(asked).code is not AdmissionCode.ADMITTED
    assert ledger.state().holds == {}


@pytest.mark.parametrize("word", ["", "A" * 32, "0" * 31, "0" * 33, "0" * 31 + "}", "..", "0" * 32 + "\n"])
def test_only_handles_become_part_of_a_key(word: str):
    assert not approvals.is_handle(word)
    for make in (lambda: approvals.find(KEYS, word), lambda: approvals.answer(KEYS, word, "ann", True)):
        with pytest.raises(ValueError, match="handle"):
            make()
