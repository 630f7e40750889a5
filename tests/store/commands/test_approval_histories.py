"""Approvals: the Lua and the pure model agree in every order of questions, answers and calls."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.approval import ApprovalStatus, ApprovalUse, ConfirmBy
from sidecar.ledger import admission, approval_records, settlement
from sidecar.ledger.accounts import AccountState, Consent
from sidecar.ledger.approval_records import APPROVAL_LIFE, Approval
from sidecar.model import AdmissionCode, Application, Caller, Demand
from sidecar.store.commands import approvals, changes, scripts
from sidecar.store.commands.approvals import parse_approval
from tests.store.commands.approval_cases import BOB, HANDLES, OTHER, free_application, priced, question, use
from tests.store.support import CALLER, KEYS, LEASE, NOW, RealLedger, demand
from tests.support.store import StoreServer

CALLERS = (*(CALLER,) * 8, BOB, OTHER)
MET_LEAST = 10
WANTED = (
    *("admitted", "admitted free", "used before", "declined", "other arguments", "not answered", "dearer"),
    *("of another caller", "expired", "from the page", "given back", "reused question"),
    *("given back without a price", "given back from the page", "given back too late", "forwarded", "released before"),
)
_AMOUNTS = [(), (demand("contact"),), (demand("contact", 2), demand("rows", 1))]


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
            handle or dice.choice(HANDLES),
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
        handle, caller, demands = dice.choice([None, *HANDLES]), dice.choice(CALLERS), dice.choice(_AMOUNTS)
        if self.coin():  # as most calls: about what was shown
            self.ask(handle, demands)
            if self.coin():
                self.answer(handle)
        changed = dice.choice([*({},) * 9, {"arguments": "a2"}, {"rule": "r2"}, {"tool": "other"}])
        claimed = use(handle, accepted=self.coin(), **changed)
        self.number += 1
        asked = free_application(
            f"c{self.number}", *demands, caller=caller, dry_run=dice.random() < 0.2, approval=claimed
        )
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
