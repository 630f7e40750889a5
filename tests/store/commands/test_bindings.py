"""Sessions and tasks of an account on a real server: so many and no more, and the least recently used goes first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.model import Caller
from sidecar.outcome import Bound, Eviction
from sidecar.store.commands import bindings, changes, keys, scripts
from sidecar.store.commands.command import Command
from tests.store.support import CALLER, KEYS, NOW, RealLedger, application
from tests.support.store import StoreServer

HOUR = 3_600_000
OTHER = replace(CALLER, client_id="cli-2")
THIRD = replace(CALLER, subject="bob")


@dataclass(frozen=True)
class Many:
    """Sessions, or tasks: how they are bound, used and found, and how many there may be."""

    kind: Bound
    bind: Callable[[Caller, str], Command]
    use: Callable[[Caller, str], list[Command]]
    listen: Callable[[Caller, str], Command]
    key: Callable[[str], str]
    listed: str
    most: int

    @property
    def own(self) -> int:
        """As many as one caller may have."""
        return self.most // bindings.CALLER_SHARE


SESSIONS = Many(
    Bound.SESSION,
    bindings.bind_session,
    lambda who, name: [bindings.touch(who, name, ()), scripts.admit(application(session=name, caller=who))],
    lambda who, name: bindings.listen(who, [name]),
    KEYS.session,
    KEYS.sessions,
    bindings.MAX_SESSIONS,
)
TASKS = Many(
    Bound.TASK,
    lambda who, name: bindings.bind_tasks(who, [name], 0),
    lambda who, name: [bindings.touch(who, None, [name]), scripts.admit(application(tasks=(name,), caller=who))],
    lambda who, name: bindings.listen(who, [], [name]),
    KEYS.task,
    KEYS.tasks,
    bindings.MAX_TASKS,
)


@pytest.fixture
def ledger(store_server: StoreServer) -> Iterator[RealLedger]:
    with RealLedger.of_account(store_server) as real:
        yield real


@pytest.fixture(params=[SESSIONS, TASKS], ids=["sessions", "tasks"])
def many(request: pytest.FixtureRequest) -> Many:
    return request.param  # type: ignore[no-any-return]


def consent(caller: Caller) -> str:
    return keys.consent_digest(caller.subject, caller.client_id)


def bind(ledger: RealLedger, many: Many, caller: Caller, name: str) -> list[Eviction]:
    """Bind one a second after what came before it; what was evicted."""
    ledger.set_clock(ledger.now + 1000)
    reply = ledger.run(many.bind(caller, name))
    assert bindings.owned(reply) == [True]
    return bindings.evicted(many.kind, reply)


def fill(ledger: RealLedger, many: Many, caller: Caller, count: int, name: str = "s") -> None:
    """Bind so many, one a second, as the script writes them."""
    with ledger.client.pipeline(transaction=False) as pipe:
        for number in range(count):
            at, digest = ledger.now + 1000 * number, many.key(f"{name}{number}")[-32:]
            fields = {"consent": consent(caller), "subject": caller.subject, "client_id": caller.client_id}
            pipe.hset(many.key(f"{name}{number}"), mapping={**fields, "at": at / 1000, "used": at})
            pipe.zadd(many.listed, {digest: at})
            pipe.zadd(f"{many.listed}:{consent(caller)}", {digest: at})
        pipe.execute()
    ledger.set_clock(ledger.now + 1000 * count)


def alive(ledger: RealLedger, many: Many, *names: str) -> list[bool]:
    return [ledger.client.exists(many.key(name)) == 1 for name in names]


def digests(many: Many, evicted: list[Eviction]) -> list[tuple[str, str]]:
    return [(each.digest, each.full) for each in evicted]


def test_a_caller_has_half_of_what_an_account_has_and_loses_its_least_recently_used(ledger: RealLedger, many: Many):
    fill(ledger, many, CALLER, many.own)
    for number, command in ((0, many.use(CALLER, "s0")[0]), (2, many.use(CALLER, "s2")[1])):
        ledger.set_clock(ledger.now + 1000)
        ledger.run(command)
        assert alive(ledger, many, f"s{number}") == [True]
    order = []
    for number in range(4):
        order += digests(many, bind(ledger, many, CALLER, f"new{number}"))
    assert order == [(many.key(name)[-32:], "caller") for name in ("s1", "s3", "s4", "s5")]
    assert alive(ledger, many, "s0", "s1", "s2", "s3", "new0", "new3") == [True, False, True, False, True, True]
    assert ledger.client.zcard(many.listed) == ledger.client.zcard(f"{many.listed}:{consent(CALLER)}") == many.own
    assert 0 < ledger.client.ttl(many.listed) <= 30 * 86_400


def test_a_binding_that_a_caller_already_has_counts_once(ledger: RealLedger, many: Many):
    fill(ledger, many, CALLER, many.own)
    assert bind(ledger, many, CALLER, "s0") == []
    assert ledger.client.zcard(many.listed) == many.own


def test_expired_bindings_are_dropped_first_and_are_no_evictions(ledger: RealLedger, many: Many):
    fill(ledger, many, CALLER, many.own)
    ledger.client.delete(many.key("s0"))
    assert bind(ledger, many, CALLER, "new") == []
    assert alive(ledger, many, "s1", "new") == [True, True]


def test_the_flood_of_one_client_evicts_nothing_of_another(ledger: RealLedger, many: Many):
    for number in range(3):
        assert bind(ledger, many, OTHER, f"theirs{number}") == []
    fill(ledger, many, CALLER, many.own)
    for number in range(20):
        (gone,) = bind(ledger, many, CALLER, f"flood{number}")
        assert (gone.subject, gone.client_id, gone.full) == (CALLER.subject, CALLER.client_id, "caller")
    assert alive(ledger, many, "theirs0", "theirs1", "theirs2") == [True] * 3


def test_a_full_account_takes_from_the_caller_that_wants_more_while_others_are_in_use(ledger: RealLedger, many: Many):
    """Two clients fill the account; a third, with one of its own, loses that and not the others' older ones."""
    assert bind(ledger, many, THIRD, "bobs") == []
    fill(ledger, many, OTHER, many.own, "theirs")
    fill(ledger, many, CALLER, many.own - 1)
    ledger.set_clock(NOW + HOUR // 2)
    (gone,) = bind(ledger, many, THIRD, "bobs next")
    assert (gone.digest, gone.full) == (many.key("bobs")[-32:], "account")
    assert ledger.client.zcard(many.listed) == many.most


def test_a_full_account_loses_first_what_was_not_used_for_an_hour(ledger: RealLedger, many: Many):
    fill(ledger, many, OTHER, many.own, "theirs")
    ledger.run(many.use(OTHER, "theirs0")[0])
    fill(ledger, many, CALLER, many.own - 1)
    assert bind(ledger, many, THIRD, "bobs") == []
    ledger.set_clock(ledger.now + 2 * HOUR)
    (gone,) = bind(ledger, many, THIRD, "bobs next")
    assert (gone.digest, gone.client_id, gone.full) == (many.key("theirs1")[-32:], OTHER.client_id, "account")
    assert ledger.client.zscore(f"{many.listed}:{consent(OTHER)}", gone.digest) is None


def test_a_session_with_an_open_stream_is_evicted_last(ledger: RealLedger, many: Many):
    fill(ledger, many, CALLER, many.own)
    for number in range(many.own - 2):
        if number < 2 or many is SESSIONS:
            ledger.run(many.listen(CALLER, f"s{number}"))
    first = many.own - 2 if many is SESSIONS else 2
    gone = [digests(many, bind(ledger, many, CALLER, f"new{number}")) for number in range(2)]
    assert gone == [[(many.key(f"s{number}")[-32:], "caller")] for number in (first, first + 1)]
    assert alive(ledger, many, "s0", "s1") == [True, True]


def test_if_all_have_open_streams_the_least_recently_used_is_evicted(ledger: RealLedger):
    fill(ledger, SESSIONS, CALLER, SESSIONS.own)
    for number in range(SESSIONS.own):
        ledger.run(SESSIONS.listen(CALLER, f"s{number}"))
    assert digests(SESSIONS, bind(ledger, SESSIONS, CALLER, "new")) == [(KEYS.session("s0")[-32:], "caller")]
    ledger.set_clock(ledger.now + 120_000)  # a stream that is not noted any more has ended
    assert len(bind(ledger, SESSIONS, CALLER, "newer")) == 1


def test_records_that_cannot_be_read_are_in_no_newcomers_way(ledger: RealLedger, many: Many):
    fill(ledger, many, CALLER, many.own)
    ledger.client.delete(many.key("s0"))
    ledger.client.set(many.key("s0"), "no hash")
    ledger.client.hset(many.key("s1"), mapping={"used": "nonsense", "at": "never", "open": "x"})
    assert bind(ledger, many, CALLER, "new0") == []  # what is no binding is none that is evicted
    assert digests(many, bind(ledger, many, CALLER, "new1")) == [(many.key("s1")[-32:], "caller")]
    assert alive(ledger, many, "s0", "s1", "s2") == [False, False, True]


def test_a_session_that_ends_is_no_longer_counted(ledger: RealLedger):
    for name in ("a", "b"):
        ledger.run(bindings.bind_session(CALLER, name))
    ledger.run(bindings.end_session(replace(CALLER, subject="bob"), "a"))
    assert ledger.client.zcard(KEYS.sessions) == 2
    ledger.run(bindings.end_session(CALLER, "a"))
    for listed in (KEYS.sessions, f"{KEYS.sessions}:{consent(CALLER)}"):
        assert ledger.client.zrange(listed, 0, -1) == [KEYS.session("b")[-32:]]


def test_a_session_keeps_how_its_client_can_ask_its_user(ledger: RealLedger):
    def modes(caller: Caller, session: str) -> str | None:
        return bindings.modes_of(ledger.run(bindings.session_modes(caller, session)))

    for session, written in (("a", ""), ("b", "form"), ("c", "form url")):
        ledger.run(bindings.bind_session(CALLER, session, written))
        assert modes(CALLER, session) == written
        assert modes(OTHER, session) is modes(THIRD, session) is None
    assert modes(CALLER, "unknown") is None
    ledger.run(bindings.bind_session(OTHER, "c"))  # another caller changes nothing
    assert modes(CALLER, "c") == "form url"
    ledger.run(bindings.bind_session(CALLER, "c"))  # a client that initializes again may have changed
    assert modes(CALLER, "c") == ""
    ledger.run(bindings.end_session(CALLER, "b"))
    assert modes(CALLER, "b") is None


def test_reading_the_modes_of_a_session_uses_it(ledger: RealLedger):
    ledger.run(bindings.bind_session(CALLER, "a", "form"))
    ledger.set_clock(NOW + HOUR)
    ledger.run(bindings.session_modes(CALLER, "a"))
    assert ledger.client.hget(KEYS.session("a"), "used") == str(NOW + HOUR)


# --- against a model -----------------------------------------------------------------------------------

CALLERS = (CALLER, OTHER, THIRD)
STEPS = st.lists(
    st.tuples(st.sampled_from(["bind", "use", "listen", "end", "wait"]), st.integers(0, 2), st.integers(0, 5)),
    min_size=10,
    max_size=60,
)
MOST = 6


class Model:
    """Model of the bindings: per caller and account the least recently used is evicted, open streams last."""

    def __init__(self) -> None:
        self.used: dict[tuple[int, int], int] = {}
        self.open: dict[tuple[int, int], int] = {}

    def bind(self, who: int, name: int, now: int) -> None:
        if (who, name) not in self.used:
            while sum(each[0] == who for each in self.used) >= MOST // bindings.CALLER_SHARE:
                self._drop(self._least(now, who))
            while len(self.used) >= MOST:
                gone = self._least(now, None)
                if now - self._last(gone, now) < HOUR and any(each[0] == who for each in self.used):
                    gone = self._least(now, who)
                self._drop(gone)
        self.used[who, name] = now

    def _last(self, each: tuple[int, int], now: int) -> int:
        return now if self.open.get(each, 0) > now else self.used[each]

    def _least(self, now: int, who: int | None) -> tuple[int, int]:
        those = [each for each in self.used if who is None or each[0] == who]
        return min(those, key=lambda each: (self.open.get(each, 0) > now, self.used[each]))

    def _drop(self, each: tuple[int, int]) -> None:
        del self.used[each]
        self.open.pop(each, None)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_sessions_are_evicted_as_the_model_says(ledger: RealLedger, steps: list[tuple[str, int, int]]):
    ledger.client.flushdb()
    ledger.load()
    ledger.set_clock(NOW)
    ledger.client.hset(KEYS.account, mapping={"plan": "growth"})
    for each in CALLERS:
        ledger.run(changes.grant("main", "acme", each.subject, each.client_id))
    model = Model()
    for verb, who, name in steps:
        ledger.set_clock(ledger.now + (20 * 60_000 if verb == "wait" else 1000))
        caller, session = CALLERS[who], f"{who}-{name}"
        known = (who, name) in model.used
        if verb == "bind":
            command = bindings.bind_session(caller, session)
            limited = [*command.arguments[:-3], str(MOST), str(MOST // bindings.CALLER_SHARE), ""]
            ledger.run(Command(command.script, command.keys, limited))
            model.bind(who, name, ledger.now)
        elif verb == "use":
            ledger.run(scripts.admit(application(session=session, caller=caller)))
        elif verb == "listen":
            ledger.run(bindings.listen(caller, [session]))
        elif verb == "end":
            ledger.run(bindings.end_session(caller, session))
        if known and verb in ("use", "listen"):
            model.used[who, name] = ledger.now
        if known and verb == "listen":
            model.open[who, name] = ledger.now + 60_000
        if known and verb == "end":
            model._drop((who, name))
        held = {(w, n) for w in range(3) for n in range(6) if ledger.client.exists(KEYS.session(f"{w}-{n}"))}
        assert held == model.used.keys()


def test_work_of_one_call_is_bounded_however_many_were_used_since(ledger: RealLedger):
    """Each use is looked at once: the call after it finds the list in order."""
    fill(ledger, TASKS, CALLER, TASKS.own)
    for start in range(0, TASKS.own, 500):
        ledger.run(bindings.touch(CALLER, None, [f"s{number}" for number in range(start, start + 500)]))
    calls = []
    for number in range(4):
        ledger.client.config_resetstat()
        bind(ledger, TASKS, CALLER, f"new{number}")
        calls.append(sum(each["calls"] for each in ledger.client.info("commandstats").values()))
    assert max(calls) < 7_000
    assert calls[-1] < 100
