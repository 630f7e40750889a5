"""The Lua and the pure model are the same ledger, whatever happens in whatever order; and money adds up."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from sidecar.ledger import admission, bindings, changes, scripts, settlement, streams
from sidecar.ledger.accounts import AccountState, Consent
from sidecar.ledger.changes import ChangeCode
from sidecar.ledger.journal import checkpoint, fold, forgotten, uncounted, verify
from sidecar.ledger.journal_counters import fold_counters
from sidecar.ledger.journal_entries import FIELDS, Entry
from sidecar.ledger.windows import Counter, current
from sidecar.model import MAX_AMOUNT, AmountKind, ConsentMode, Demand, Depth, OnUnknown, PlanTerms, Terms
from sidecar.outcome import Charge
from tests.ledger.edits import edits
from tests.ledger.support import CALLER, KEYS, LEASE, NOW, PLANS, TERMS, RealLedger, application, demand
from tests.support.store import StoreServer

_KEPT = st.sampled_from([(20, 18), (8, 2), (8, 2)])
"""Entries of the journal, and how many are folded at once: more than one script writes, and fewer.

Never as many as there were before the script: what is folded has been seen.
"""

_KINDS = {name.partition(":")[0] for name in FIELDS}
_ITEMS = st.lists(st.sampled_from(["a", "b", "c", "d:e", "é", "7"]), unique=True, max_size=5).map(tuple)
_UNITS = st.sampled_from([0, 1, 2, 3, 5, 19, 25, MAX_AMOUNT])
_FEW = st.integers(0, 4)
_CALLS = st.sampled_from([f"c{number}" for number in range(6)])
_REQUESTS = st.sampled_from([None, "first", "second"])
_WINDOWS = st.sampled_from(["minute", "hour", "day", "month"])
_QUOTAS = st.sampled_from(["requests", "rows", "other"])
_TERMS = st.sampled_from(
    [
        TERMS,
        replace(TERMS, consent=ConsentMode.FIRST_USE),
        replace(TERMS, default_plan=None),
        replace(TERMS, scopes=()),
        Terms(
            ConsentMode.REQUIRED,
            None,
            None,
            PlanTerms(True, {"rows": {"hour": 7, "day": 7}}, {"contact": ("month", 3)}),
        ),
    ]
)


@st.composite
def _demand(draw: st.DrawFn, units: st.SearchStrategy[int] = _UNITS) -> Demand:
    kind = draw(st.sampled_from(AmountKind))
    name = "contact" if kind is AmountKind.CREDIT else draw(_QUOTAS)
    if draw(st.booleans()):
        items = draw(_ITEMS)
        each = draw(st.integers(0, 3))
        return Demand(kind, name, each * len(items), items, each)
    return Demand(kind, name, draw(units), fixed=draw(st.booleans()))


_CHARGE = st.one_of(st.just(Charge()), st.builds(Charge, amount=st.integers(0, 30)), st.builds(Charge, items=_ITEMS))


class Ledgers(RuleBasedStateMachine):
    """Does everything to both, and compares."""

    server: StoreServer

    @initialize(balance=st.integers(0, 12), plan=st.sampled_from([None, *PLANS]), kept=_KEPT)
    def begin(self, balance: int, plan: str | None, kept: tuple[int, int]) -> None:
        with self.server.client() as client:
            client.flushall()
        self.real = RealLedger(self.server, kept=kept)
        self.most = kept[0] if kept[1] > settlement.EXPIRED_AT_ONCE + 1 else None
        self.now = self.latest = NOW
        self.model = AccountState()
        self.held: set[str] = set()
        self.late: set[str] = set()
        self.history: dict[str, Entry] = {}
        self.real.raw.hset(KEYS.account, "issuer", "main")
        self.change_credits("grant", balance, False)
        self.grant(False, ())
        if plan is not None:
            self.set_account(plan, True, {})

    @rule(
        call=_CALLS,
        look=st.booleans(),
        demands=st.lists(_demand(), max_size=4),
        terms=_TERMS,
        depth=st.sampled_from([Depth.PRICE, Depth.PRICE, Depth.PRICE, Depth.PLAN, Depth.CONSENT]),
        on_unknown=st.sampled_from(OnUnknown),
        session=st.sampled_from([None, None, None, "mine", "theirs"]),
        request=_REQUESTS,
        tasks=st.sampled_from([(), (), (), ("a",), ("a", "b"), ("theirs",), ("a", "theirs"), ("gone",)]),
    )
    def admit(
        self,
        call: str,
        look: bool,
        demands: list[Demand],
        terms: Terms,
        depth: Depth,
        on_unknown: OnUnknown,
        session: str | None,
        request: str | None,
        tasks: tuple[str, ...],
    ) -> None:
        asked = application(
            call,
            *demands,
            look=look,
            terms=terms,
            depth=depth,
            on_unknown=on_unknown,
            session=session,
            request=request,
            tasks=tasks,
        )
        before = self._dump() if look else None
        expected, self.model = admission.admit(self.model, asked, self.now)
        assert scripts.admitted(asked, self.real.run(scripts.admit(asked))) == expected
        self.held |= {call} if expected.held else set()
        assert before is None or self._dump() == before, "a look has written"

    @rule(
        demands=st.lists(_demand(_FEW), min_size=1, max_size=3),
        on_unknown=st.sampled_from(OnUnknown),
        first=st.booleans(),
        request=_REQUESTS,
    )
    def pay(self, demands: list[Demand], on_unknown: OnUnknown, first: bool, request: str | None) -> None:
        """A call of an account in good order, which most are: without it little money would ever move."""
        if first:
            self.forget(True)
            self.forget(False)
        elif not (self.model.consents and all(each.granted for each in self.model.consents.values())):
            self.grant(False, None)
        if self.model.plan not in ("growth", "free") or not self.model.active:
            self.set_account("growth", True, {})
        self.number = getattr(self, "number", 0) + 1
        terms = replace(TERMS, consent=ConsentMode.FIRST_USE if first else ConsentMode.REQUIRED, scopes=())
        for _ in range(2):  # given twice, it reserves once
            self.admit(f"p{self.number}", False, demands, terms, Depth.PRICE, on_unknown, None, request, ())

    @precondition(lambda self: hasattr(self, "model") and self.model.holds)
    @rule(
        which=st.integers(0, 99), forwarded=st.booleans(),
        charges=st.none() | st.lists(_CHARGE, min_size=3, max_size=3),
        how=st.sampled_from(["settle", "settle", "release", "defer"]), late=st.sampled_from([0, 0, 0, 32 * 86_400_000]),
    )  # fmt: skip
    def finish(self, which: int, charges: list[Charge] | None, forwarded: bool, how: str, late: int) -> None:
        """A call that is open ends, sometimes in another month, and is told to have ended twice."""
        if late:
            self.pass_time(late)
        call = sorted(self.model.holds)[which % len(self.model.holds)]
        for _ in range(2):
            if how == "settle":
                self.settle(call, charges)
            elif how == "release":
                self.release(call, forwarded)
            else:
                self.defer(call)

    @precondition(lambda self: hasattr(self, "model") and self.model.holds)
    @rule(early=st.sampled_from([0, 1]))
    def die(self, early: int) -> None:
        """The clock stands where the first lease ends, or a millisecond before."""
        first = min(hold.until for hold in self.model.holds.values())
        if first - early > self.now:
            self.pass_time(first - early - self.now)
        self.sweep()

    @rule(call=_CALLS, charges=st.none() | st.lists(_CHARGE, max_size=4))
    def settle(self, call: str, charges: list[Charge] | None) -> None:
        known = call in self.model.done
        receipt, self.model = settlement.settle(self.model, call, charges, now=self.now, lease=LEASE)
        self.late |= {call} if receipt.late and not known else set()
        assert scripts.receipt(self.real.run(scripts.settle(application(call), charges))) == receipt

    @rule(call=_CALLS, forwarded=st.booleans())
    def release(self, call: str, forwarded: bool) -> None:
        receipt, self.model = settlement.release(self.model, call, forwarded=forwarded, now=self.now, lease=LEASE)
        assert scripts.receipt(self.real.run(scripts.release(application(call), forwarded=forwarded))) == receipt

    @rule(call=_CALLS)
    def defer(self, call: str) -> None:
        events = (f"{call}-1", f"{call}-2")
        there, self.model = settlement.defer(self.model, call, "context", events, now=self.now)
        assert bool(self.real.run(scripts.defer(application(call), b"context", events))) == there

    @rule(call=_CALLS, number=st.integers(1, 3), more=st.sampled_from([1, 2, 70]))
    def follow(self, call: str, number: int, more: int) -> None:
        """A stream that resumed one of a call's is broken off as well, perhaps before the call itself was."""
        self.number = getattr(self, "number", 0) + 1
        resumed, events = f"{call}-{number}", tuple(f"{call}-{self.number}-{n}" for n in range(more))
        there, self.model = settlement.follow(self.model, resumed, events, now=self.now)
        assert bool(self.real.run(streams.follow(CALLER, resumed, events))) == there

    @rule(request=_REQUESTS.filter(bool), costs=st.booleans(), call=_CALLS, number=st.integers(0, 2))
    def recall(self, request: str, costs: bool, call: str, number: int) -> None:
        resumed = f"{call}-{number}" if number else ""
        found, self.model = settlement.recall(self.model, request, costs, resumed, now=self.now)
        real = streams.recalled(self.real.run(streams.recall(CALLER, request, costs, resumed)))
        assert real == (found and (found[0], found[1].encode(), *found[2:]))

    @rule()
    def sweep(self) -> None:
        assert self.real.run(scripts.sweep(KEYS)) == settlement.expire(self.model, self.now)

    @rule(by=st.sampled_from([1, 999, 61_000, LEASE, 3_600_000, 86_400_000, 32 * 86_400_000, -5_000]))
    def pass_time(self, by: int) -> None:
        if self.latest - self.now - by > 60_000:
            return  # a clock that is set back further than the shortest window begins it anew
        self.now += by
        self.latest = max(self.latest, self.now)
        self.real.set_clock(self.now)
        for call, done in self.model.done.items():
            if done.until <= self.now:
                self.real.raw.delete(KEYS.outcome(call))
        self.model = self.model.copy(self.now)

    @rule(
        plan=st.sampled_from([*PLANS, "gone"]),
        active=st.booleans(),
        own=st.dictionaries(st.tuples(_QUOTAS, _WINDOWS), st.none() | st.integers(0, 30), max_size=2),
    )
    def set_account(
        self,
        plan: str,
        active: bool,
        own: dict[tuple[str, str], int | None],
        code: ChangeCode = ChangeCode.DONE,
    ) -> None:
        drop = [key for key in self.model.overrides if key not in own]
        command = changes.set_account(
            "main", "acme", plan=plan, active=active or None, quotas=own, drop=drop, create=True
        )
        assert self.real.run(command) == code
        if not active:
            self.real.raw.hset(KEYS.account, "status", "dormant")  # what is not understood denies
        self.model = replace(self.model, plan=plan, active=active, overrides=own)

    @rule(plan=st.sampled_from([*PLANS]))
    def delete(self, plan: str) -> None:
        """The account is deleted with all that it holds, and comes back."""
        for everyone in (True, False):
            self.forget(everyone)
        others = [key for key in self.real.client.scan_iter(KEYS.prefix + "*") if ":session:" in key or ":task:" in key]
        assert self.real.run(changes.delete_account("main", "acme", others=others)) == ChangeCode.DONE
        self.model = AccountState(done=self.model.done)
        self.history, self.late = {}, set()
        self.set_account(plan, True, {}, code=ChangeCode.CREATED)

    @rule(everyone=st.booleans(), scopes=st.sampled_from([None, (), ("read",), ("write", "x"), ("x",)]))
    def grant(self, everyone: bool, scopes: tuple[str, ...] | None) -> None:
        subject = None if everyone else "ann"
        others = [KEYS.consent("ann", CALLER.client_id)] if everyone and self._own() else []
        self.real.run(changes.grant("main", "acme", subject, CALLER.client_id, scopes, others=others))
        every = self.model.clients.get(CALLER.client_id)
        at = self.now if every is None or every.at is None else max(self.now, every.at + 1)
        self._record(everyone, Consent(True, at, None if scopes is None else frozenset(scopes)), bool(others))

    @rule(everyone=st.booleans(), others=st.booleans())
    def revoke(self, everyone: bool, others: bool) -> None:
        too = [KEYS.consent("ann", CALLER.client_id)] if everyone and others and self._own() else []
        self.real.run(changes.revoke("main", "acme", None if everyone else "ann", CALLER.client_id, others=too))
        self._record(everyone, Consent(False, self.now), bool(too), keep_scopes=True)

    @rule(everyone=st.booleans())
    def forget(self, everyone: bool) -> None:
        if everyone:
            self.real.raw.delete(KEYS.client(CALLER.client_id))
            self.model.clients.clear()
        else:
            self.real.raw.delete(KEYS.consent("ann", CALLER.client_id))
            self.model.consents.clear()

    @rule(
        everyone=st.booleans(),
        status=st.sampled_from(["granted", "granted", "revoked", "Granted", None]),
        at=st.sampled_from([None, NOW - 1000, NOW, NOW, NOW + 1000]),
    )
    def write_directly(self, everyone: bool, status: str | None, at: int | None) -> None:
        """Another program writes a record by hand, and may forget to say when."""
        key = KEYS.client(CALLER.client_id) if everyone else KEYS.consent("ann", CALLER.client_id)
        self.real.raw.delete(key)
        self.real.raw.hset(key, mapping={"client_id": "x"} | ({} if status is None else {"status": status}))
        if at is not None:
            self.real.raw.hset(key, "at", at // 1000)
        self._record(everyone, Consent(status == "granted", at), False)

    @rule()
    def bind(self) -> None:
        bob = replace(CALLER, subject="bob")
        for command in (
            bindings.bind_session(CALLER, "mine"),
            bindings.bind_session(bob, "theirs"),
            bindings.bind_tasks(CALLER, ["a", "b"], 0),
            bindings.bind_tasks(bob, ["theirs"], 0),
        ):
            assert all(bindings.owned(self.real.run(command)))
        mine, theirs = ("ann", CALLER.client_id), ("bob", CALLER.client_id)
        self.model.sessions |= {"mine": mine, "theirs": theirs}
        self.model.tasks |= {"a": mine, "b": mine, "theirs": theirs}

    @rule(verb=st.sampled_from(["grant", "spend", "set"]), amount=_UNITS, planned=st.booleans())
    def change_credits(self, verb: str, amount: int, planned: bool) -> None:
        self.operation = getattr(self, "operation", 0) + 1
        command = changes.change_credits(
            "main", "acme", verb, "contact", amount,
            operation=f"o{self.operation}", included=("month", 4) if planned else None,
        )  # fmt: skip
        expected = self._change(verb, amount, planned)
        assert changes.credited(self.real.run(command)) == expected
        assert changes.credited(self.real.run(command)).code == expected.code

    def _change(self, verb: str, amount: int, planned: bool) -> changes.CreditChange:
        model = self.model = self.model.copy(self.now)
        settlement.expire(model, self.now)
        balance, total = model.balances.get("contact", 0), model.totals.get("contact", 0)
        counter, _ = current(model.included, "contact", "month", self.now)
        included = min(amount, max(0, 4 - counter.used)) if planned and verb == "spend" else 0
        by = {"grant": amount, "set": amount - balance, "spend": included - amount}[verb]
        if balance + by < 0:
            code = ChangeCode.TOO_LITTLE
        elif total + by > MAX_AMOUNT:
            code = ChangeCode.TOO_MUCH
        else:
            model.balances["contact"], model.totals["contact"] = balance + by, total + by
            self.late = set() if verb == "set" else self.late
            if planned and verb == "spend":
                model.included["contact", "month"] = Counter(counter.window, counter.used + included)
            return changes.CreditChange(ChangeCode.DONE, balance + by, included)
        return changes.CreditChange(code, balance, 0)

    def _own(self) -> bool:
        return bool(self.model.consents)

    def _record(self, everyone: bool, consent: Consent, own_too: bool, keep_scopes: bool = False) -> None:
        def written(before: Consent | None) -> Consent:
            return replace(consent, scopes=before.scopes) if keep_scopes and before else consent

        if everyone:
            self.model.clients[CALLER.client_id] = written(self.model.clients.get(CALLER.client_id))
        if own_too or not everyone:
            who = ("ann", CALLER.client_id)
            self.model.consents[who] = written(self.model.consents.get(who))

    def _dump(self) -> dict[bytes, Any]:
        names = [name for name in self.real.raw.scan_iter("mcp:*")]
        return {name: (self.real.raw.dump(name), self.real.raw.pttl(name) > 0) for name in names}

    @invariant()
    def same(self) -> None:
        if not hasattr(self, "real"):
            return
        stored = self.real.state()
        outside: dict[str, Any] = {"sessions": {}, "tasks": {}, "done": {}}
        assert stored == replace(self.model, **outside)
        assert stored.imbalance() == {}
        assert all(balance >= 0 for balance in stored.balances.values())
        assert all(counter.used >= 0 for counter in (*stored.quotas.values(), *stored.included.values()))
        requests = {hold.request: call for call, hold in stored.holds.items() if hold.request}
        requests |= {event: call for call, hold in stored.holds.items() for event in hold.events}
        assert self.real.client.hgetall(KEYS.requests) == requests

    @invariant()
    def journaled(self) -> None:
        """Checkpoint and entries say what every balance and counter is, however much was folded and when."""
        if not hasattr(self, "real"):
            return
        snapshot, entries = self.real.audit()
        assert verify(snapshot, entries) == []
        assert self.most is None or len(entries) <= self.most
        self.history |= {entry.id: entry for entry in entries}
        everything = [*self.history.values()]
        assert [entry.fields["n"] for entry in everything] == [str(n + 1) for n in range(len(everything))]
        assert all(re.sub(":.*", "", name) in _KINDS for entry in everything for name in entry.fields)
        folded, wrong = checkpoint(snapshot.ledger)
        assert wrong == []
        assert folded == fold(everything[: int(snapshot.folded)])
        counters = fold_counters(everything[: int(snapshot.folded)])
        stored = {name.removeprefix("folded:"): value for name, value in snapshot.ledger.items() if "folded:" in name}
        assert stored == {name: f"{number}:{units}" for name, (number, units) in counters.windows.items()}
        assert uncounted(snapshot, entries) is None
        totals = {pool: each.total for pool, each in fold(everything).items()}
        assert {pool: total for pool, total in totals.items() if total} == {
            pool: total for pool, total in self.model.totals.items() if total
        }

    @invariant()
    def nothing_was_forgotten(self) -> None:
        """Only calls that were settled without ever having been admitted are said to be lost."""
        if hasattr(self, "real"):
            snapshot, entries = self.real.audit()
            named = {each.what.removeprefix("call ") for each in forgotten(snapshot, entries)}
            assert named <= self.late - self.held
            deleted = any(entry.fields["event"] == "account_deleted" for entry in entries)
            assert named == self.late - self.held or snapshot.folded != "0" or deleted

    @rule()
    def edit(self) -> None:
        """Whatever is edited by hand is named, each edit by itself."""
        for edited in edits(*self.real.audit()):
            assert verify(edited.snapshot, edited.entries), edited.what

    def teardown(self) -> None:
        if hasattr(self, "real"):
            self.real.close()


@pytest.mark.timeout(300)  # a failure is worth its shrinking
def test_the_lua_is_the_model(store_server: StoreServer):
    machine = type("Machine", (Ledgers,), {"server": store_server})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=50, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def test_parallel_calls_never_spend_a_credit_twice(store_server: StoreServer):
    ledger = RealLedger(store_server)
    ledger.run_unpatched(changes.grant("main", "acme", "ann", CALLER.client_id))
    ledger.run_unpatched(changes.change_credits("main", "acme", "grant", "contact", 20, operation="o", create=True))

    def call(number: int) -> bool:
        asked = application(f"p{number}", demand("contact"))
        with redis.Redis(unix_socket_path=str(store_server.path)) as client:
            held = scripts.admitted(asked, client.execute_command(*scripts.admit(asked).words())).held
            if held:
                done = scripts.settle(asked, None) if number % 2 else scripts.release(asked)
                client.execute_command(*done.words())
                client.execute_command(*done.words())
        return held

    with ThreadPoolExecutor(16) as pool:
        held = list(pool.map(call, range(200)))
    spent = sum(took for number, took in enumerate(held) if number % 2)
    assert ledger.state().balances == {"contact": 20 - spent}
    assert ledger.state().holds == {}
    assert spent <= 20
    ledger.close()
