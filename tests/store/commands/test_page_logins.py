"""Pending logins and sessions of the account page: once, bounded and for a time, on a real server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sidecar.store.commands.keys import AccountKeys, account_keys, digest
from sidecar.store.commands.page_logins import (
    LOGIN_ENDS_KEY,
    LOGIN_LIFE,
    MAX_LOGINS,
    MAX_PAGE_SESSIONS,
    PENDING_LOGINS_KEY,
    SESSION_LIFE,
    begin_login,
    begin_page_session,
    end_page_session,
    end_page_sessions,
    find_page_session,
    found_page_session,
    take_login,
    taken_login,
)
from tests.store.support import NOW, RealLedger
from tests.support.store import StoreServer

KEYS = account_keys("main", "acme")


@pytest.fixture
def ledger(store_server: StoreServer) -> Iterator[RealLedger]:
    with RealLedger.of_account(store_server) as real:
        yield real
        real.client.delete(PENDING_LOGINS_KEY, LOGIN_ENDS_KEY)


def taken(ledger: RealLedger, state: str) -> bytes | None:
    return taken_login(ledger.run(take_login(state)))


def begin(ledger: RealLedger, session: str, subject: str = "ada", keys: AccountKeys = KEYS) -> None:
    assert ledger.run(begin_page_session(keys, session, subject, {"token": session})) == 1


def found(ledger: RealLedger, session: str, keys: AccountKeys = KEYS) -> dict[str, str]:
    return found_page_session(ledger.run(find_page_session(keys, session)))


def test_a_login_is_taken_once(ledger: RealLedger):
    ledger.run(begin_login("state", b"document"))
    assert taken(ledger, "other") is None
    assert taken(ledger, "state") == b"document"
    assert taken(ledger, "state") is None
    assert not ledger.client.exists(PENDING_LOGINS_KEY, LOGIN_ENDS_KEY), "nothing stays behind"


def test_a_login_ends(ledger: RealLedger):
    ledger.run(begin_login("state", b"document"))
    ledger.set_clock(NOW + 1000 * LOGIN_LIFE - 1)
    ledger.run(begin_login("later", b"document"))
    ledger.set_clock(NOW + 1000 * LOGIN_LIFE)
    assert taken(ledger, "state") is None
    assert taken(ledger, "later") == b"document"
    assert 0 < int(ledger.client.ttl(PENDING_LOGINS_KEY)) <= LOGIN_LIFE or not ledger.client.exists(PENDING_LOGINS_KEY)


def test_ended_logins_are_dropped_by_the_next_one(ledger: RealLedger):
    for each in range(5):
        ledger.run(begin_login(str(each), b"document"))
    ledger.set_clock(NOW + 1000 * LOGIN_LIFE)
    ledger.run(begin_login("next", b"document"))
    assert ledger.client.hkeys(PENDING_LOGINS_KEY) == ledger.client.zrange(LOGIN_ENDS_KEY, 0, -1)
    assert ledger.client.zcard(LOGIN_ENDS_KEY) == 1


def test_the_oldest_of_too_many_logins_is_dropped(ledger: RealLedger):
    kept = {digest(f"old-{each}"): NOW + each for each in range(MAX_LOGINS)}
    ledger.client.zadd(LOGIN_ENDS_KEY, kept)
    ledger.client.hset(PENDING_LOGINS_KEY, mapping={each: f"{end} document" for each, end in kept.items()})
    ledger.set_clock(NOW - 1000)
    ledger.run(begin_login("state", b"document"))
    assert ledger.client.hlen(PENDING_LOGINS_KEY) == ledger.client.zcard(LOGIN_ENDS_KEY) == MAX_LOGINS
    assert taken(ledger, "old-0") is None
    assert taken(ledger, "old-1") == b"document"


def test_a_session_is_found_by_its_secret_only(ledger: RealLedger):
    begin(ledger, "secret")
    assert found(ledger, "secret") == {"subject": "ada", "token": "secret"}
    assert found(ledger, "other") == {}
    assert found(ledger, "secret", account_keys("main", "other")) == {}
    keys = [str(key) for key in ledger.client.scan_iter(f"{KEYS.prefix}login*")]
    assert keys
    assert not any("secret" in key for key in keys)
    assert 0 < int(ledger.client.ttl(KEYS.login("secret"))) <= SESSION_LIFE


def test_a_session_ends(ledger: RealLedger):
    begin(ledger, "one")
    begin(ledger, "two")
    assert ledger.run(end_page_session(KEYS, "one")) == 1
    assert ledger.run(end_page_session(KEYS, "one")) == 0
    assert (found(ledger, "one"), found(ledger, "two")["token"]) == ({}, "two")
    assert ledger.client.zcard(KEYS.logins) == 1


def test_all_sessions_of_one_person_end(ledger: RealLedger):
    for session, subject in (("a1", "ada"), ("a2", "ada"), ("b1", "bob")):
        begin(ledger, session, subject)
    assert ledger.run(end_page_sessions(KEYS, "ada")) == 2
    assert [bool(found(ledger, each)) for each in ("a1", "a2", "b1")] == [False, False, True]
    assert ledger.client.zcard(KEYS.logins) == 1


def test_the_oldest_of_too_many_sessions_ends(ledger: RealLedger):
    begin(ledger, "first")
    ledger.client.zadd(
        KEYS.logins, {digest(str(each)): NOW + 1000 * SESSION_LIFE + 1 for each in range(MAX_PAGE_SESSIONS - 1)}
    )
    begin(ledger, "last")
    assert found(ledger, "first") == {}
    assert found(ledger, "last")
    assert ledger.client.zcard(KEYS.logins) == MAX_PAGE_SESSIONS
