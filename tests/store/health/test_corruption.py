"""Keys and fields edited by hand: each script works by a rule, or fails before its first write."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.ledger import decoding
from sidecar.ledger.journal.verification import verify
from sidecar.model import OnUnknown
from sidecar.outcome import Charge
from sidecar.store.commands import bindings, changes, keys, scripts, shipped, stream_commands
from sidecar.store.commands.command import Command
from sidecar.terms import ConsentMode
from tests.store.support import CALLER, KEYS, LEASE, NOW, RealLedger, application, demand, head_of, reveal
from tests.support.store import StoreServer

CONSENT = KEYS.consent(CALLER.subject, CALLER.client_id)
CLIENT = KEYS.client(CALLER.client_id)
REQUEST, EVENT = keys.request_digest("s", 1), keys.event_digest("s", "e1")
LATER = NOW + LEASE + 1
"""Time at which only the leases of `dead` and `dead-too` have expired."""

ALL = (
    *KEYS.money,
    KEYS.account,
    CONSENT,
    CLIENT,
    KEYS.session("s"),
    KEYS.task("t"),
    KEYS.sessions,
    KEYS.tasks,
    KEYS.outcome("paid"),
)
WORDS = (
    "",
    "abc",
    "-5",
    "1.5",
    "1e3",
    "0x10",
    "9007199254740993",
    "9" * 400,
    "nan",
    "inf",
    "-inf",
    " 7",
    "5 ",
    "\0",
    "5\0",
)
COUNTERS = (*WORDS, "7", ":", "1:", ":1", "1:-1", "1:2:3", "nan:1", "1:nan", "24320:1e3", "24320:9007199254740993")
JSON: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from(
        [None, True, False, 0, 5, -5, 1.5, 1e300, 2**53, "", "abc", "5", "-5", "1e3", "nan", " 7", "\0\n", "month"]
    ),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "month", "reserved"]), inner, max_size=2)
    ),
    max_leaves=4,
)
TYPES: dict[str, Callable[[Any, str], Any]] = {
    "string": lambda client, key: client.set(key, "x"),
    "list": lambda client, key: client.rpush(key, "x"),
    "set": lambda client, key: client.sadd(key, "x"),
    "hash": lambda client, key: client.hset(key, "x", "x"),
    "zset": lambda client, key: client.zadd(key, {"x": 1}),
    "stream": lambda client, key: client.xadd(key, {"x": "x"}),
}


def _commands() -> dict[str, Command]:
    """Every script, as it is run of this account."""
    who = ("main", "acme", "ann", CALLER.client_id)
    price = (demand("contact", 3), reveal("a", "new"), demand("rows", 2), demand("requests", fixed=True))
    session: dict[str, Any] = {"session": "s", "tasks": ("t",)}

    def change(verb: str, **more: Any) -> Command:
        return changes.change_credits("main", "acme", verb, "contact", 1, operation=verb, **more)

    return {
        "admit": scripts.admit(application("new", *price, **session, request=keys.request_digest("s", 2))),
        "admit again": scripts.admit(application("open", demand("contact", 3))),
        "admit items": scripts.admit(application("new", reveal("a", "new"))),
        "admit rows": scripts.admit(application("new", demand("rows", 2), demand("requests", fixed=True))),
        "admit resolved": scripts.admit(application("paid", demand("contact"))),
        "look": scripts.admit(application("new", *price, **session, dry_run=True)),
        "settle": scripts.settle(application("open"), [Charge(amount=1), Charge(amount=9), Charge(items=("x",))]),
        "settle reserve": scripts.settle(application("deferred"), None),
        "settle again": scripts.settle(application("paid"), None),
        "settle late": scripts.settle(application("unknown"), None),
        "settle dead": scripts.settle(application("dead"), None),
        "release": scripts.release(application("open"), forwarded=True),
        "release late": scripts.release(application("unknown")),
        "defer": scripts.defer(application("open"), b"context", ("e7", "e8")),
        "defer again": scripts.defer(application("deferred"), b"context", ("e7", "e8")),
        "follow": stream_commands.follow(CALLER, EVENT, ["e9"]),
        "recall": stream_commands.recall(CALLER, REQUEST, True, EVENT),
        "recall open": stream_commands.recall(CALLER, keys.request_digest("s", 3), True),
        "sweep": scripts.sweep(KEYS),
        "inspect": changes.inspect(KEYS),
        "audit": changes.audit(KEYS),
        "grant credits": change("grant"),
        "spend credits": change("spend", included=("month", 4)),
        "set credits": change("set"),
        "set account": changes.set_account("main", "acme", plan="free", create=True),
        "grant": changes.grant(*who, ["read"]),
        "grant all": changes.grant("main", "acme", None, CALLER.client_id, others=[CONSENT]),
        "revoke": changes.revoke(*who),
        "revoke all": changes.revoke("main", "acme", None, CALLER.client_id, others=[CONSENT]),
        "standing": stream_commands.standing(KEYS, [("ann", CALLER.client_id)], ConsentMode.REQUIRED),
        "bind": bindings.bind_session(CALLER, "new"),
        "bind again": bindings.bind_session(CALLER, "s"),
        "touch": bindings.touch(CALLER, "s", ["t"]),
        "end": bindings.end_session(CALLER, "s"),
        "delete": changes.delete_account("main", "acme", others=[CONSENT, CLIENT, KEYS.session("s"), KEYS.task("t")]),
    }


COMMANDS = _commands()
UNSTOPPABLE = {"revoke", "revoke all", "delete", "audit"}
"""Commands that always work: revoking access, deleting an account and inspecting corrupt records."""


@pytest.fixture(scope="module")
def _server() -> Iterator[StoreServer]:
    server = StoreServer().start()
    yield server
    server.close()


@pytest.fixture(scope="module")
def ledger(_server: StoreServer) -> Iterator[RealLedger]:
    """An account with something of everything, whose first state is kept."""
    with RealLedger.of_account(_server, kept=(7, 2)) as real:  # so that every entry folds others
        for command in (
            changes.change_credits("main", "acme", "grant", "contact", 100, operation="o"),
            changes.grant("main", "acme", None, CALLER.client_id),
            bindings.bind_session(CALLER, "s"),
            bindings.bind_tasks(CALLER, ["t"], 0),
            scripts.admit(application("paid", reveal("a", "b"))),
            scripts.settle(application("paid"), None),
            scripts.admit(application("dead", demand("contact", 7), demand("rows", 3), on_unknown=OnUnknown.SETTLE)),
            scripts.admit(application("dead-too", reveal("c", "d"), demand("requests"), on_unknown=OnUnknown.SETTLE)),
        ):
            real.run(command)
        session: dict[str, Any] = {"session": "s", "lease": 10 * LEASE}
        price = (demand("contact", 5), demand("rows", 4), reveal("x", "y"))
        for command in (
            scripts.admit(application("open", *price, **session, request=keys.request_digest("s", 3))),
            scripts.admit(application("deferred", *price, **session, request=REQUEST)),
            scripts.defer(application("deferred"), b"context", (EVENT,)),
        ):
            real.run(command)
        real.set_clock(LATER)  # the leases of dead owners have just expired, and no script has run since
        assert real.client.hlen(KEYS.holds) == 4
        yield real


class Store:
    """All that is stored of the account, to be kept, put back and compared."""

    def __init__(self, ledger: RealLedger) -> None:
        self.ledger = ledger
        self.first = self.dump()

    def dump(self) -> dict[str, bytes]:
        names = sorted(self.ledger.client.scan_iter("mcp:*"))
        with self.ledger.raw.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.dump(name)
            return dict(zip(names, pipe.execute(), strict=True))

    def put_back(self, state: dict[str, bytes]) -> None:
        gone = [name for name in self.ledger.client.scan_iter("mcp:*") if name not in state]
        with self.ledger.raw.pipeline(transaction=False) as pipe:
            for name in gone:
                pipe.delete(name)
            for name, value in state.items():
                pipe.restore(name, 0, value, replace=True)
            pipe.execute()

    def credits(self) -> int | None:
        """The balance; None when it is none."""
        if self.ledger.client.type(KEYS.ledger) != "hash":
            return None
        text = self.ledger.client.hget(KEYS.ledger, "balance:contact") or "0"
        return int(text) if re.fullmatch(r"[0-9]{1,16}", text) and int(text) < 2**53 else None


@pytest.fixture(scope="module")
def store(ledger: RealLedger) -> Store:
    return Store(ledger)


# --- one record that was edited by hand -------------------------------------------------------------


@st.composite
def _typed(draw: st.DrawFn) -> tuple[str, Callable[[Any], None]]:
    """Any key, of another type."""
    key, kind = draw(st.sampled_from(ALL)), draw(st.sampled_from(sorted(TYPES)))

    def edit(client: Any) -> None:
        if client.type(key) != kind:
            client.delete(key)
            TYPES[kind](client, key)

    return f"{key} is a {kind}", edit


@st.composite
def _field(draw: st.DrawFn) -> tuple[str, Callable[[Any], None]]:
    """Any field of ledger, record, consent or binding, with a value that it should not have."""
    at = draw(st.integers(0, 99))
    key = draw(
        st.sampled_from([KEYS.ledger, KEYS.ledger, KEYS.ledger, KEYS.account, CONSENT, CLIENT, KEYS.session("s")])
    )
    word = draw(st.sampled_from(COUNTERS))

    def edit(client: Any) -> None:
        fields = sorted(client.hkeys(key))
        client.hset(key, fields[at % len(fields)], word)

    return f"{key} field {at} = {word!r}", edit


@st.composite
def _hold(draw: st.DrawFn) -> tuple[str, Callable[[Any], None]]:
    """A hold with another document, or with one of its values replaced, removed or added."""
    call = draw(st.sampled_from(["open", "deferred", "dead", "dead-too"]))
    whole = draw(
        st.none() | st.sampled_from(["", "{", "[]", "null", "7", '{"a":1}', "[" * 2000, "\0"]) | JSON.map(json.dumps)
    )
    at, value, removed = draw(st.integers(0, 99)), draw(JSON), draw(st.booleans())

    def edit(client: Any) -> None:
        document = json.loads(client.hget(KEYS.holds, call))
        places = list(_places(document))
        parent, name = places[at % len(places)]
        if removed:
            del parent[name]
        else:
            parent[name] = copy.deepcopy(value)
        client.hset(KEYS.holds, call, json.dumps(document) if whole is None else whole)

    return f"hold {call}: {whole if whole is not None else (at, removed, value)}", edit


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    for name in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, name
        if isinstance(value[name], dict | list):
            yield from _places(value[name])


@st.composite
def _other(draw: st.DrawFn) -> tuple[str, Callable[[Any], None]]:
    """Edits of other keys: leases, requests, paid items, an outcome, the journal."""
    word, score = draw(st.sampled_from(WORDS)), draw(st.sampled_from([0, -1, 1.5, 2**60, float("inf"), float("-inf")]))
    edits: list[Callable[[Any], Any]] = [
        lambda client: client.zadd(KEYS.leases, {"open": score}),
        lambda client: client.zadd(KEYS.leases, {word: score}),
        lambda client: client.zrem(KEYS.leases, "dead"),
        lambda client: client.hset(KEYS.requests, REQUEST, word),
        lambda client: client.hset(KEYS.requests, EVENT, word),
        lambda client: client.sadd(KEYS.paid, word, "credit:contact:", "credit", ":"),
        lambda client: client.set(KEYS.outcome("paid"), word),
        lambda client: client.set(KEYS.done("grant"), word),
        *(
            lambda client, raw=raw: client.set(KEYS.outcome("paid"), raw)
            for raw in (
                '{"how":"settled"}',
                '{"how":"settled","receipt":{"a":1}}',
                '{"how":"settled","receipt":[null,{}]}',
                "[]",
            )
        ),
        lambda client: client.xadd(KEYS.usage, {word: word, "change:contact": word, "total:contact": word}),
        lambda client: client.xadd(KEYS.usage, {"n": "1"}, id=f"{2**64 - 1}-{2**64 - 1}"),
        lambda client: client.xtrim(KEYS.usage, 0),
    ]
    number = draw(st.integers(0, len(edits) - 1))
    return f"other {number}: {word!r} {score}", edits[number]


_EDITS = st.one_of(_typed(), _field(), _field(), _hold(), _hold(), _other())
_STORED = {
    "balance": r"[0-9]{1,16}",
    "total": r"-?[0-9]{1,16}",
    "included": r"[0-9]+:[0-9]{1,16}",
    "quota": r"[0-9]+:[0-9]{1,16}",
    "journal": r"[0-9]{1,16}(-[0-9]+)?",
    "checkpoint": r"-?[0-9]{1,16}:[0-9]{1,16}:[0-9]{1,16}",
}


@pytest.mark.timeout(300)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(edit=_EDITS)
def test_no_edit_of_one_record_makes_a_script_write_half_or_create_credits(
    store: Store, edit: tuple[str, Callable[[Any], None]]
):
    said, change = edit
    store.put_back(store.first)
    change(store.ledger.client)
    edited = store.dump()
    had, unreadable = store.credits(), _unreadable(store.ledger.client)
    for name, command in COMMANDS.items():
        store.put_back(edited)
        about = f"{name}, where {said}"
        refused = _refused(store, command)
        if refused is not None:
            assert _CLEAR.match(refused), f"{about}: {refused}"
            assert store.dump() == edited, f"{about}: it failed and has written"
            assert name not in UNSTOPPABLE, f"{about}: {refused}"
            continue
        assert _unreadable(store.ledger.client) <= unreadable, about
        left = store.credits()
        if name == "set credits":
            assert left == 1, about
        elif had is not None and left is not None:
            most = max(had, 100) + (1 if name == "grant credits" else 0)
            assert left <= most, about


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(edit=_hold())
def test_a_hold_is_read_alike_in_both_languages(store: Store, edit: tuple[str, Callable[[Any], None]]):
    said, change = edit
    store.put_back(store.first)
    change(store.ledger.client)
    head = head_of(shipped.RECALL, "local call = ")
    for raw in store.ledger.client.hvals(KEYS.holds):
        lua = store.ledger.client.eval(head + "return hold_of(ARGV[1]) and 1 or 0", 1, KEYS.holds, raw) == 1
        assert _is_hold(raw) == lua, f"{said}: {raw[:500]}"


def _is_hold(raw: str) -> bool:
    try:
        decoding.parse_hold(raw, 0)
    except decoding.UnreadableError:
        return False
    return True


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(edit=_EDITS)
def test_reading_a_corrupt_record_reports_its_place(store: Store, edit: tuple[str, Callable[[Any], None]]):
    said, change = edit
    store.put_back(store.first)
    change(store.ledger.client)
    snapshot, entries = store.ledger.audit() if store.ledger.client.type(KEYS.usage) == "stream" else (None, [])
    if snapshot is not None:
        assert all(str(difference) for difference in verify(snapshot, entries)), said
    try:
        reply = store.ledger.run(changes.inspect(KEYS))
    except redis.ResponseError:
        return
    try:
        changes.inspected(reply)
    except decoding.UnreadableError as error:
        message = str(error)
    else:
        return
    assert re.fullmatch("ledger (balance|total|quota|included):.* is not an? .*", message), said


_CLEAR: Final = re.compile("MALFORMED [a-z]+.* is not an? |WRONGTYPE |.*the last possible ID")


def _refused(store: Store, command: Command) -> str | None:
    try:
        store.ledger.run(command)
    except redis.ResponseError as error:
        return str(error)
    return None


def _unreadable(client: Any) -> set[str]:
    """Return fields of the ledger that do not match the layout."""
    if client.type(KEYS.ledger) != "hash":
        return set()
    return {
        field
        for field, value in client.hgetall(KEYS.ledger).items()
        if not re.fullmatch(_STORED.get(field.partition(":")[0], ""), value)
    }


def test_an_expired_hold_whose_pool_has_no_total_is_set_aside_and_stops_nothing_else(store_server: StoreServer):
    """Also a hold that took nothing from the balance: its journal entry needs the total."""
    with RealLedger.of_account(store_server) as real:
        assert real.admit(application("included", demand("contact", 2))).held
        real.client.hset(KEYS.ledger, "total:contact", "many")
        real.set_clock(LATER)
        assert real.admit(application("next", demand("requests", 1))).held
        (entry,) = (fields for _, fields in real.client.xrange(KEYS.usage) if fields["event"] == "set_aside")
        assert entry["call"] == "included"
        real.client.hdel(KEYS.ledger, "total:contact")
        assert real.run(scripts.settle(application("included"), None))[0] == 0
        assert verify(*real.audit()) == []
