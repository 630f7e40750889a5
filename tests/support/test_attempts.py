"""The judges of the crowd and of the soak see what is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from sidecar.store.commands import scripts
from sidecar.store.commands.keys import account_keys
from tests.soak.auditor import Auditor
from tests.store.support import CALLER, application
from tests.support.attempts import Attempt, Ending, complaints
from tests.support.processes import Accounts, accounts
from tests.support.rig import Reply
from tests.support.store import StoreServer

_RESULT: dict[str, Any] = {"result": {"content": []}}
_FAILED = {"result": {"isError": True}}
_REFUSED = {"error": {"code": -32000, "data": {"code": "store_unavailable"}}}


def reply(message: Any, status: int = 200) -> Reply:
    headers = {"X-Request-Id": "c", "Content-Type": "application/json"}
    return Reply(status, headers, json.dumps({"id": 1, **message}).encode())


def streamed(*events: str) -> Reply:
    body = "".join(f"id: {number}\ndata: {event}\n\n" for number, event in enumerate(events))
    return Reply(200, {"X-Request-Id": "c", "Content-Type": "text/event-stream"}, f"\n{body}".encode())


def entry(event: str, credits: int, *, expired: bool = False) -> dict[str, str]:
    return {"event": event, "call": "c", "credit:contact": str(credits)} | ({"expired": "1"} if expired else {})


_ONCE, _PLAIN = ("a", "b"), ()


@pytest.mark.parametrize(
    ("items", "answer", "found", "right"),
    [
        (_PLAIN, reply(_RESULT), entry("settled", 2), True),
        (_PLAIN, reply(_RESULT), entry("settled", 1), False),
        (_PLAIN, reply(_RESULT), entry("released", 0), False),
        (_PLAIN, reply(_RESULT), None, False),
        (_PLAIN, reply(_RESULT), entry("released", 0, expired=True), True),
        (_PLAIN, reply(_RESULT), entry("settled", 2, expired=True), False),
        (_ONCE, reply(_RESULT), entry("settled", 1), True),
        (_ONCE, reply(_RESULT), entry("settled", 3), False),
        (_ONCE, reply(_RESULT), entry("released", 0, expired=True), False),
        (_PLAIN, reply(_FAILED), entry("settled", 2), False),
        (_PLAIN, reply(_FAILED), entry("released", 0), True),
        (_ONCE, reply(_REFUSED, 503), entry("settled", 2), False),
        (_ONCE, reply(_REFUSED, 503), entry("settled", 2, expired=True), True),
        (_ONCE, reply(_REFUSED, 503), None, True),
        (_PLAIN, reply({"error": {"code": -32000}}), entry("settled", 1), False),
        (_PLAIN, reply({}, 404), entry("settled", 1), False),
        (_PLAIN, reply({}, 502), entry("settled", 3), False),
        (_PLAIN, reply({}, 502), entry("settled", 2), True),
        (_PLAIN, streamed("{}"), entry("settled", 2, expired=True), True),
        (_PLAIN, streamed(json.dumps({"id": 1, **_RESULT})), entry("settled", 2, expired=True), False),
    ],
)
def test_a_price_that_the_table_does_not_give_is_seen(
    items: tuple[str, ...], answer: Reply, found: dict[str, str] | None, right: bool
):
    said = complaints([Attempt(items, 2, answer)], [found] if found else [])
    assert (said == []) is right, said


def test_a_call_that_is_resolved_twice_is_seen():
    assert complaints([], [entry("settled", 1), entry("released", 0)])


def test_a_client_that_cancels_or_disconnects_may_pay_the_whole_price():
    assert Attempt((), 2, reply(_FAILED), cancelled=True).ending is Ending.UNKNOWN
    assert Attempt((), 2, None).ending is Ending.UNKNOWN


@pytest.fixture
def ada(store_server: StoreServer) -> Iterator[Accounts]:
    with accounts(store_server.path, 10) as made:
        yield made


@pytest.fixture
def auditor(store_server: StoreServer, ada: Accounts) -> Iterator[Auditor]:
    made = Auditor(store_server.path, "ada")
    yield made
    made.close()


KEYS = account_keys("main", "ada")


def test_a_balance_that_was_edited_is_seen(store_server: StoreServer, ada: Accounts, auditor: Auditor):
    assert ada.spend(3)
    auditor.look()
    assert auditor.wrong == []
    assert auditor.sum("spend") == 3
    with store_server.client() as client:
        client.hincrby(KEYS.ledger, "balance:contact", 1)
    auditor.look()
    assert auditor.wrong == ["ledger balance:contact: contact: balance and held: expected 7, found 8"]


def test_included_credits_and_paid_items_that_were_edited_are_seen(
    store_server: StoreServer, ada: Accounts, auditor: Auditor
):
    for operation in "ab":  # what was read before is remembered
        assert ada.spend(3, operation, ("month", 5))
        auditor.look()
    assert (auditor.wrong, auditor.included(), auditor.sum("spend")) == ([], 5, 6)
    with store_server.client() as client:
        number = ada.look().counters["included:contact:month"].partition(":")[0]
        client.hset(KEYS.ledger, "included:contact:month", f"{number}:4")
        client.sadd(KEYS.paid, "credit:contact:a")
    auditor.look()
    assert auditor.wrong == [
        f"ledger included:contact:month: contact: counter: expected {number}:5, found {number}:4",
        "paid: paid items: expected 0, found 1",
    ]


def test_an_entry_that_was_removed_before_it_was_read_is_seen(
    store_server: StoreServer, ada: Accounts, auditor: Auditor
):
    auditor.look()
    ada.spend(1)
    with store_server.client() as client:
        [(spend, _)] = client.xrevrange(KEYS.usage, count=1)
        client.xdel(KEYS.usage, spend)
    auditor.look()
    assert any(each.startswith("ledger journal:written") for each in auditor.wrong)


def test_a_call_that_the_store_has_lost_is_seen(ada: Accounts, auditor: Auditor):
    ada.run(scripts.settle(replace(application("c"), caller=replace(CALLER, account="ada")), None))
    auditor.look()
    assert auditor.wrong == []
    [lost] = auditor.forgotten()
    assert "call c: expected a reservation, found none" in lost
