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

from sidecar.ledger import admission, settlement
from sidecar.ledger.accounts import AccountState, Consent, Hold
from sidecar.ledger.journal.counters import fold_counters
from sidecar.ledger.journal.entries import FIELDS, Entry
from sidecar.ledger.journal.verification import checkpoint, fold, last_without_windows, lost_holds, verify
from sidecar.ledger.shadow import shadow_refusals
from sidecar.ledger.windows import Counter, current, window_at
from sidecar.model import MAX_AMOUNT, AmountKind, Demand, Depth, OnUnknown
from sidecar.outcome import CHARGE_UNMARKED, Charge
from sidecar.store.commands import bindings, changes, scripts, stream_commands
from sidecar.store.commands.command import ChangeCode
from sidecar.terms import ConsentMode, PlanTerms, Terms
from tests.store.commands.call_histories import HISTORIES, CallHistory, Meter, rich
from tests.store.commands.consent_histories import CONSENTS, case_of
from tests.store.edits import edits
from tests.store.support import CALLER, KEYS, LEASE, NOW, PLANS, TERMS, RealLedger, application, demand
from tests.support.store import StoreServer

_KEPT = st.sampled_from([(24, 18), (16, 2), (16, 2)])
"""Entries of the journal, and how many are folded at once: more than one script writes, and fewer.

Never as many as there were before the script: what is folded has been seen.
"""

MET_LEAST = 200
"""Least count of every case that the meter wants."""
MOST_RUNS = 5
"""Most runs of the machine until the meter has them."""

_KINDS = {name.partition(":")[0] for name in FIELDS}
_ITEMS = st.lists(st.sampled_from(["a", "b", "c", "d:e", "é", "7"]), unique=True, max_size=5).map(tuple)
_UNITS = st.sampled_from([0, 1, 2, 3, 5, 19, 25, MAX_AMOUNT])
_FEW = st.integers(0, 4)
_CALLS = st.sampled_from([f"c{number}" for number in range(6)])
_REQUESTS = st.sampled_from([None, "first", "second"])
_WINDOWS = st.sampled_from(["minute", "hour", "day", "month"])
_QUOTAS = st.sampled_from(["requests", "rows", "other"])
_SHADOW = st.sampled_from([None, None, "p.yaml:1"])
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
    shadow = draw(_SHADOW) if kind is AmountKind.QUOTA else None
    if draw(st.booleans()):
        items = draw(_ITEMS)
        each = draw(st.integers(0, 3))
        return Demand(kind, name, each * len(items), items, each, shadow=shadow)
    return Demand(kind, name, draw(units), fixed=draw(st.booleans()), shadow=shadow)


_CHARGE = st.one_of(
    st.just(Charge()),
    st.just(CHARGE_UNMARKED),
    st.builds(Charge, amount=st.integers(0, 30)),
    st.builds(Charge, items=_ITEMS),
)


class Ledgers(RuleBasedStateMachine):
    """Does everything to both, and compares."""

    server: StoreServer
    meter: Meter

    @initialize(
        balance=st.integers(0, 12),
        plan=st.sampled_from([None, *PLANS]),
        kept=_KEPT,
        histories=st.tuples(HISTORIES, HISTORIES),
        consents=CONSENTS,
    )
    def begin(
        self,
        balance: int,
        plan: str | None,
        kept: tuple[int, int],
        histories: tuple[list[CallHistory], ...],
        consents: tuple[str, ...],
    ) -> None:
        with self.server.client() as client:
            client.flushall()
        self.real = RealLedger(self.server, kept=kept)
        self.most = kept[0] if kept[1] > settlement.EXPIRY_BATCH + 1 else None
        self.now = self.latest = NOW
        self.model = AccountState()
        self.held: set[str] = set()
        self.number = 0
        self.history: dict[str, Entry] = {}
        self.late: set[str] = set()
        self.real.raw.hset(KEYS.account, "issuer", "main")
        self.change_credits("grant", balance, False)
        self.grant(False, ())
        if plan is not None:
            self.set_account(plan, True, {})
        for each in histories:  # in every run, whichever rules Hypothesis leaves out
            self.play(each)
        self.play_consents(consents)

    @rule(
        call=_CALLS,
        dry_run=st.booleans(),
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
        dry_run: bool,
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
            dry_run=dry_run,
            terms=terms,
            depth=depth,
            on_unknown=on_unknown,
            session=session,
            request=request,
            tasks=tasks,
        )
        self.see()
        before = self._dump() if dry_run else None
        expected, self.model = admission.admit(self.model, asked, self.now)
        assert scripts.admitted(asked, self.real.run(scripts.admit(asked))) == expected
        self.held |= {call} if expected.held else set()
        self.meter["beyond a quota in shadow mode"] += expected.held and bool(shadow_refusals(expected, asked))
        assert before is None or self._dump() == before, "a dry run has written"

    @rule(
        demands=st.lists(_demand(_FEW), min_size=1, max_size=3),
        on_unknown=st.sampled_from(OnUnknown),
        first=st.booleans(),
        request=_REQUESTS,
    )
    def pay(self, demands: list[Demand], on_unknown: OnUnknown, first: bool, request: str | None) -> None:
        """A call of an account in good order, which most are: without it little money would ever move."""
        self.lift()
        if first:
            self.forget(True)
            self.forget(False)
        elif not (self.model.consents and all(each.granted for each in self.model.consents.values())):
            self.grant(False, None)
        if self.model.plan not in ("growth", "free") or not self.model.active:
            self.set_account("growth", True, {})
        self.number = self.number + 1
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
        """Resolve an open call, sometimes in another month, and repeat the command."""
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

    @rule(histories=HISTORIES)
    def play(self, histories: list[CallHistory]) -> None:
        """Play calls of an account in good order, one after the other."""
        self.lift()
        if not (self.model.consents and all(each.granted for each in self.model.consents.values())):
            self.grant(False, None)
        if (
            not self.model.active
            or self.model.overrides
            or any(not each.granted for each in self.model.clients.values())
        ):
            self.forget(True)
            self.set_account("growth", True, {})
        for history in histories:
            self.play_one(history)
            self.same()

    @rule(histories=HISTORIES)
    def play_again(self, histories: list[CallHistory]) -> None:
        """The same rule again, so that Hypothesis draws charges more often than other steps."""
        self.play(histories)

    @rule(histories=HISTORIES)
    def play_a_third_time(self, histories: list[CallHistory]) -> None:
        self.play(histories)

    def play_one(self, history: CallHistory) -> None:
        if history.forget and self.model.paid:
            self.unpay()
        if self.model.balances.get("contact", 0) < 12:
            self.change_credits("grant", 19, False)
        self.number += 1
        calls = [f"l{self.number}"] + ([f"m{self.number}"] if history.twin else [])
        for call in calls:
            self.open(call, history)
        if history.end in ("die", "late"):
            self.pass_time(LEASE)
            self.sweep()
            self.recall(f"of-{calls[0]}", True, calls[0], 0)
        elif history.end == "next":
            self.pass_time(32 * 86_400_000)
        for call in [each for each in calls for _ in range(2)]:  # repeated, it ends once
            if history.settles:
                self.settle(call, [*history.charges])
            elif history.releases:
                self.release(call, history.forwarded)

    def open(self, call: str, history: CallHistory) -> None:
        if history.end == "tombstone":
            self.release(call, history.forwarded)
            self.meter["tombstones"] += 1
        used = current(self.model.included, "contact", history.window, self.now)[0].used
        asked = (list(history.form), rich(history.window, used + history.unused), Depth.PRICE, history.on_unknown)
        self.admit(call, False, *asked, None, f"of-{call}", ())
        if history.deferred and call in self.model.holds:
            self.defer(call)
            self.meter["deferred"] += 1

    def see(self) -> None:
        """Take note of the journal's entries before they are folded."""
        self.history |= {id_: Entry(id_, fields) for id_, fields in self.real.client.xrange(KEYS.usage)}

    def unpay(self) -> None:
        """The account is deleted and set again; what it had paid is to be paid again."""
        self.delete("growth")
        self.grant(False, None)
        self.see()

    @rule(call=_CALLS, charges=st.none() | st.lists(_CHARGE, max_size=4))
    def settle(self, call: str, charges: list[Charge] | None) -> None:
        self.see()
        known = call in self.model.resolved
        hold, paid = self.model.holds.get(call), self.model.paid
        if hold is not None:
            self.meter.settled(hold, charges)
            self._meet_windows(hold)
            for amount in hold.amounts:
                mine = {(amount.kind, amount.name, item) for item in amount.items or ()}
                self.meter["items that another call has paid"] += bool(mine & paid)
        self.meter["repeated" if known else "late"] += hold is None
        receipt, self.model = settlement.settle(self.model, call, charges, now=self.now, lease=LEASE)
        self.late |= {call} if receipt.late and not known else set()
        assert scripts.receipt(self.real.run(scripts.settle(application(call), charges))) == receipt

    @rule(call=_CALLS, forwarded=st.booleans())
    def release(self, call: str, forwarded: bool) -> None:
        self.see()
        if (hold := self.model.holds.get(call)) is not None:
            self.meter.ended("released", hold)
            self._meet_windows(hold)
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
        self.number = self.number + 1
        resumed, events = f"{call}-{number}", tuple(f"{call}-{self.number}-{n}" for n in range(more))
        there, self.model = settlement.follow(self.model, resumed, events, now=self.now)
        assert bool(self.real.run(stream_commands.follow(CALLER, resumed, events))) == there

    @rule(request=_REQUESTS.filter(bool), costs=st.booleans(), call=_CALLS, number=st.integers(0, 2))
    def recall(self, request: str, costs: bool, call: str, number: int) -> None:
        resumed = f"{call}-{number}" if number else ""
        found, self.model = settlement.recall(self.model, request, costs, resumed, now=self.now)
        reply = self.real.run(stream_commands.recall(CALLER, request, costs, resumed))
        assert stream_commands.lapsed(reply) == (costs and request in self.model.lapsed)
        self.meter["lapsed"] += stream_commands.lapsed(reply)
        real = stream_commands.recalled(reply)
        assert real == (found and (found[0], found[1].encode(), *found[2:]))

    @rule()
    def sweep(self) -> None:
        self.see()
        before = dict(self.model.holds)
        assert self.real.run(scripts.sweep(KEYS)) == settlement.expire(self.model, self.now)
        for call in before.keys() - self.model.holds.keys():
            hold = before[call]
            settles = hold.deferred is not None or hold.on_unknown is OnUnknown.SETTLE
            self.meter.ended("expired, settled" if settles else "expired, released", hold)
            self.meter["expired, deferred"] += hold.deferred is not None
            self._meet_windows(hold)

    def _meet_windows(self, hold: Hold) -> None:
        numbers = ((window, number) for amount in hold.amounts for window, number in amount.windows.items())
        ended = any(number < window_at(window, self.now)[0] for window, number in numbers)
        self.meter["in a window that has ended"] += ended

    @rule(by=st.sampled_from([1, 999, 61_000, LEASE, 3_600_000, 86_400_000, 32 * 86_400_000, -5_000]))
    def pass_time(self, by: int) -> None:
        if self.latest - self.now - by > 60_000:
            return  # a clock that is set back further than the shortest window restarts it
        self.now += by
        self.latest = max(self.latest, self.now)
        self.real.set_clock(self.now)
        for call, done in self.model.resolved.items():
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
        others.append(KEYS.revocation)
        assert self.real.run(changes.delete_account("main", "acme", others=others)) == ChangeCode.DONE
        kept = self.model.revocation
        self.model = AccountState(resolved=self.model.resolved, revocation=kept if kept and not kept.granted else None)
        self.history, self.late = {}, set()
        self.set_account(plan, True, {}, code=ChangeCode.CREATED)

    @rule(everyone=st.booleans(), scopes=st.sampled_from([None, (), ("read",), ("write", "x"), ("x",)]))
    def grant(self, everyone: bool, scopes: tuple[str, ...] | None) -> None:
        subject = None if everyone else "ann"
        others = [KEYS.consent("ann", CALLER.client_id)] if everyone and self._own() else []
        self.real.run(changes.grant("main", "acme", subject, CALLER.client_id, scopes, others=others))
        older = (self.model.clients.get(CALLER.client_id), self.model.revocation)
        at = max([self.now, *(each.at + 1 for each in older if each is not None and each.at is not None)])
        self._record(everyone, Consent(True, at, None if scopes is None else frozenset(scopes)), bool(others))

    @rule(everyone=st.booleans(), others=st.booleans())
    def revoke(self, everyone: bool, others: bool) -> None:
        too = [KEYS.consent("ann", CALLER.client_id)] if everyone and others and self._own() else []
        self.real.run(changes.revoke("main", "acme", None if everyone else "ann", CALLER.client_id, others=too))
        self._record(everyone, Consent(False, self.now), bool(too), keep_scopes=True)

    def revoke_all(self, known: bool) -> None:
        records = [*self._records()] if known else []
        granted = [key for key in records if self._records()[key].granted]
        expected = (ChangeCode.DONE if self.model.revocation else ChangeCode.CREATED, len(granted))
        self.meter["consents that were revoked with all"] += len(granted)
        assert changes.revoked_all(self.real.run(changes.revoke_all("main", "acme", records))) == expected
        before = self.model.revocation
        at = self.now if before is None or before.at is None else max(self.now, before.at + 1)
        self.model = replace(self.model, revocation=Consent(False, at))
        self._revoke_records(granted)

    def cover(self) -> None:
        """Revoke what the revocation of all covers, as before it is lifted."""
        all_ = self.model.revocation
        covered = [
            key for key, each in self._records().items()
            if each.granted and all_ and not all_.granted
            and not (each.at is not None and all_.at is not None and each.at > all_.at)
        ]  # fmt: skip
        self.meter["covered consents"] += len(covered)
        command = changes.revoke_all("main", "acme", [*self._records()], changes.Revoke.COVERED)
        code = ChangeCode.DONE if all_ else ChangeCode.CREATED
        assert changes.revoked_all(self.real.run(command)) == (code, len(covered))
        self._revoke_records(covered)

    def lift(self) -> None:
        there = self.model.revocation is not None
        self.meter["lifted"] += there
        assert self.real.run(changes.lift("main", "acme")) == (ChangeCode.DONE if there else ChangeCode.UNKNOWN)
        self.model = replace(self.model, revocation=None)

    @rule(steps=CONSENTS)
    def play_consents(self, steps: tuple[str, ...]) -> None:
        """Play a history of consents, with a call and an open stream after each step."""
        self.set_account("growth", True, {})
        for step in steps:
            verb, _, what = step.partition(" ")
            everyone = what == "every"
            if verb == "revoke" and what.startswith("all"):
                self.revoke_all(what != "all")
            elif verb == "revoke":
                self.revoke(everyone, False)
            elif verb == "grant":
                self.grant(everyone, None)
            elif verb == "forget":
                self.forget(everyone)
            elif verb == "wait":
                self.pass_time(1)
            elif verb == "write":
                self.write_revocation(*what.split())
            else:
                {"cover": self.cover, "lift": self.lift}[verb]()
            self.ask()

    def ask(self) -> None:
        """Ask for an open stream, look at a call, and make one, which may write the record of a first use."""
        self.see()
        for mode in (ConsentMode.REQUIRED, ConsentMode.FIRST_USE):
            self.meter[case_of(self.model)] += 1
            terms = replace(TERMS, consent=mode, scopes=())
            self.number += 1
            look = mode is ConsentMode.REQUIRED
            asked = application(f"a{self.number}", dry_run=look, terms=terms, depth=Depth.CONSENT)
            command = stream_commands.standing(KEYS, [(CALLER.subject, CALLER.client_id)], mode)
            (open_,), _ = stream_commands.standings(self.real.run(command))
            expected, self.model = admission.admit(self.model, asked, self.now)
            assert open_ == expected.code
            assert scripts.admitted(asked, self.real.run(scripts.admit(asked))) == expected

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

    def write_revocation(self, status: str, when: str) -> None:
        """Another program revokes all clients by hand, and may forget to say when."""
        seconds = self.now // 1000
        at = {"now": seconds * 1000, "later": (seconds + 1) * 1000, "undated": None}[when]
        self.real.raw.delete(KEYS.revocation)
        self.real.raw.hset(KEYS.revocation, mapping={"status": status} | ({} if at is None else {"at": at // 1000}))
        self.model = replace(self.model, revocation=Consent(status == "granted", at))

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
        self.see()
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

    def _records(self) -> dict[str, Consent]:
        own = {KEYS.consent(*who): each for who, each in self.model.consents.items()}
        return own | {KEYS.client(client): each for client, each in self.model.clients.items()}

    def _revoke_records(self, keys: list[str]) -> None:
        def written(key: str, before: Consent) -> Consent:
            return replace(before, granted=False, at=self.now) if key in keys else before

        self.model.consents |= {who: written(KEYS.consent(*who), each) for who, each in self.model.consents.items()}
        self.model.clients |= {
            client: written(KEYS.client(client), each) for client, each in self.model.clients.items()
        }

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
        outside: dict[str, Any] = {"sessions": {}, "tasks": {}, "resolved": {}, "lapsed": set()}
        assert stored == replace(self.model, **outside)
        assert stored.imbalance() == {}
        assert all(balance >= 0 for balance in stored.balances.values())
        assert all(counter.used >= 0 for counter in (*stored.quotas.values(), *stored.included.values()))
        requests = {hold.request: call for call, hold in stored.holds.items() if hold.request}
        requests |= {event: call for call, hold in stored.holds.items() for event in hold.events}
        requests |= dict.fromkeys(self.model.lapsed, "")
        assert self.real.client.hgetall(KEYS.requests) == requests

    @invariant()
    def journaled(self) -> None:
        """Checkpoint and entries say what every balance and counter is, however much was folded and when."""
        if not hasattr(self, "real"):
            return
        snapshot, entries = self.real.audit()
        assert verify(snapshot, entries) == []
        assert self.most is None or len(entries) <= self.most
        self.see()
        everything = [*self.history.values()]
        assert [entry.fields["n"] for entry in everything] == [str(n + 1) for n in range(len(everything))]
        assert all(re.sub(":.*", "", name) in _KINDS for entry in everything for name in entry.fields)
        folded, wrong = checkpoint(snapshot.ledger)
        assert wrong == []
        assert folded == fold(everything[: int(snapshot.folded)])
        counters = fold_counters(everything[: int(snapshot.folded)])
        stored = {name.removeprefix("folded:"): value for name, value in snapshot.ledger.items() if "folded:" in name}
        assert stored == {name: f"{number}:{units}" for name, (number, units) in counters.windows.items()}
        assert last_without_windows(snapshot, entries) is None
        totals = {pool: each.total for pool, each in fold(everything).items()}
        assert {pool: total for pool, total in totals.items() if total} == {
            pool: total for pool, total in self.model.totals.items() if total
        }

    @invariant()
    def nothing_was_forgotten(self) -> None:
        """Only calls that were settled without ever having been admitted are said to be lost."""
        if hasattr(self, "real"):
            snapshot, entries = self.real.audit()
            named = {each.what.removeprefix("call ") for each in lost_holds(snapshot, entries)}
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
    meter = Meter()
    machine = type("Machine", (Ledgers,), {"server": store_server, "meter": meter})
    for _ in range(MOST_RUNS):  # a run is drawn at random: a rare event may need another one
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=100, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
            ),
        )
        if not meter.lacks(MET_LEAST):
            break
    assert meter.lacks(MET_LEAST) == {}, "what a run hardly meets it does not test"


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
