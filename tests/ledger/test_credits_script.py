"""What other programs may give to `credits.lua`: a slip is refused by name, and changes nothing."""

from __future__ import annotations

import pytest
import redis

from sidecar.ledger.keys import account_keys
from sidecar.ledger.scripts import CREDITS
from tests.support.store import StoreServer

KEYS = account_keys("main", "acme")
GOOD = ("order-1", "spend", "contact", "1", "60000", "month", "3", "0", "main", "acme")


@pytest.mark.parametrize(
    ("at", "word", "accepted"),
    [
        (0, "", "operation id: not empty"),
        (1, "Spend", "grant, spend or set"),
        (1, "", "grant, spend or set"),
        (2, "", "pool: a name without a colon"),
        (2, "contact:month", "pool: a name without a colon"),
        *(
            (3, word, "credits: an integer from 0")
            for word in ("-1", "0.5", "1e3", "0x10", "", "9007199254740992", "9" * 400)
        ),
        *((4, word, "ms to remember: an integer from 1") for word in ("0", "-1", "", "1.5")),
        (5, "year", "window: minute, hour, day, month or empty"),
        *((6, word, "included credits: an integer from 0") for word in ("-1", "0.5", "")),
    ],
)
def test_what_is_no_argument_is_refused_and_changes_nothing(
    store_server: StoreServer, at: int, word: str, accepted: str
):
    words = [*GOOD[:at], word, *GOOD[at + 1 :]]
    with store_server.client() as client:
        client.hset(KEYS.account, mapping={"plan": "growth"})
        client.hset(KEYS.ledger, mapping={"balance:contact": "5", "total:contact": "5"})
        with pytest.raises(redis.ResponseError, match=f"credits.lua accepts {accepted}"):
            client.eval(CREDITS.source, 8, *KEYS.money, KEYS.account, KEYS.done("order-1"), *words)
        assert client.hgetall(KEYS.ledger) == {"balance:contact": "5", "total:contact": "5"}
        assert sorted(client.keys()) == sorted([KEYS.account, KEYS.ledger])


def test_arguments_left_out_are_refused(store_server: StoreServer):
    with store_server.client() as client:
        for keys, words in (
            ((*KEYS.money, KEYS.account), GOOD),
            ((*KEYS.money, KEYS.account, KEYS.done("x")), GOOD[:3]),
        ):
            with pytest.raises(redis.ResponseError, match="accepts 8 KEYS and 10 ARGV"):
                client.eval(CREDITS.source, len(keys), *keys, *words)
        assert client.keys() == []
