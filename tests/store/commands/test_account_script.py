"""Arguments of `account_set.lua` from other programs: an invalid one is refused; a deleted account stays deleted."""

from __future__ import annotations

import pytest
import redis

from sidecar.store.commands.keys import account_keys
from sidecar.store.commands.shipped import ACCOUNT_SET
from tests.support.store import StoreServer

KEY = account_keys("main", "acme").account
DELETED = {"issuer": "main", "account": "acme", "status": "disabled", "deleted": "1795416967.639"}


@pytest.mark.parametrize(
    "words", [("1", "plan"), ("2", "plan"), ("3", "plan", "growth"), ("-2",), ("x",), ("2.5",), ()]
)
def test_fields_that_are_no_pairs_are_refused_and_change_nothing(store_server: StoreServer, words: tuple[str, ...]):
    with store_server.client() as client:
        client.hset(KEY, mapping=DELETED)
        with pytest.raises(redis.ResponseError, match=r"account_set\.lua accepts"):
            client.eval(ACCOUNT_SET.source, 1, KEY, "1", "main", "acme", *words)
        assert client.hgetall(KEY) == DELETED


def test_a_deleted_account_is_active_again_unless_it_is_set_otherwise(store_server: StoreServer):
    with store_server.client() as client:
        for fields, status in (((), "active"), (("status", "disabled"), "disabled")):
            client.hset(KEY, mapping=DELETED)
            assert client.eval(ACCOUNT_SET.source, 1, KEY, "0", "main", "acme", "0") == 2
            assert client.eval(ACCOUNT_SET.source, 1, KEY, "1", "main", "acme", str(len(fields)), *fields) == 1
            assert client.hgetall(KEY) == {"issuer": "main", "account": "acme", "status": status}


def test_with_the_journal_author_and_version_come_before_the_fields(store_server: StoreServer):
    keys = account_keys("main", "acme")
    with store_server.client() as client:
        for words in ((), ("shop",), ("shop", "", "plan")):
            with pytest.raises(redis.ResponseError, match=r"account_set\.lua accepts"):
                client.eval(
                    *(ACCOUNT_SET.source, 3, KEY, keys.ledger, keys.usage),
                    *("1", "main", "acme", "2" if len(words) > 2 else "0", *words),
                )
        assert client.keys() == []
        good = ("1", "main", "acme", "2", "s" * 300, "", "plan", "growth", "status")
        assert client.eval(ACCOUNT_SET.source, 3, KEY, keys.ledger, keys.usage, *good) == 1
        assert client.hgetall(KEY) == {"issuer": "main", "account": "acme", "plan": "growth"}
        ((_, entry),) = client.xrange(keys.usage)
        assert entry == {"n": "1", "event": "account_set", "created": "1", "plan": "growth", "by": "s" * 256}


def test_without_the_journal_nothing_but_the_record_is_written(store_server: StoreServer):
    with store_server.client() as client:
        assert client.eval(ACCOUNT_SET.source, 1, KEY, "1", "main", "acme", "2", "plan", "growth") == 1
        assert client.keys() == [KEY]
