"""Sessions and tasks of an account: so many and no more, on a real server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from sidecar.ledger import bindings, keys
from sidecar.ledger.command import Command
from tests.ledger.support import CALLER, KEYS, NOW, RealLedger
from tests.support.store import StoreServer


@pytest.fixture
def ledger(store_server: StoreServer) -> Iterator[RealLedger]:
    with RealLedger.of_account(store_server) as real:
        yield real


def _owned(ledger: RealLedger, command: Command) -> list[bool]:
    return bindings.owned(ledger.run(command))


@pytest.mark.parametrize(
    ("bind", "key", "most", "gone"),
    [
        (bindings.bind_session, KEYS.session, bindings.SESSIONS_MOST, KEYS.sessions),
        (lambda who, name: bindings.bind_tasks(who, [name], 0), KEYS.task, bindings.TASKS_MOST, KEYS.tasks),
    ],
    ids=["sessions", "tasks"],
)
def test_an_account_has_so_many_and_with_one_more_the_oldest_ends(
    ledger: RealLedger, bind: Any, key: Any, most: int, gone: str
):
    def put(name: str, age: int) -> None:
        ledger.client.hset(key(name), mapping={"consent": keys.consent_digest("ann", CALLER.client_id)})
        ledger.client.zadd(gone, {key(name)[-32:]: NOW - age})

    for number in range(most):
        put(f"s{number}", most - number)
    assert _owned(ledger, bind(CALLER, "s5")) == [True]  # what it has already is no further one
    assert ledger.client.zcard(gone) == most
    assert _owned(ledger, bind(CALLER, "new")) == [True]
    assert [ledger.client.exists(key(f"s{number}")) for number in range(3)] == [0, 1, 1]
    ledger.client.delete(key("s3"))  # it has expired: it goes before older ones that live
    assert _owned(ledger, bind(replace(CALLER, subject="bob"), "bobs")) == [True]
    assert [ledger.client.exists(key(f"s{number}")) for number in range(5)] == [0, 1, 1, 0, 1]
    assert ledger.client.zcard(gone) == most
    assert 0 < ledger.client.ttl(gone) <= 30 * 86_400


def test_a_session_that_ends_is_no_longer_counted(ledger: RealLedger):
    for name in ("a", "b"):
        ledger.run(bindings.bind_session(CALLER, name))
    ledger.run(bindings.end_session(replace(CALLER, subject="bob"), "a"))
    assert ledger.client.zcard(KEYS.sessions) == 2
    ledger.run(bindings.end_session(CALLER, "a"))
    assert ledger.client.zrange(KEYS.sessions, 0, -1) == [KEYS.session("b")[-32:]]
