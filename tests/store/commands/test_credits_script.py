"""Arguments of `credits.lua` from other programs: an invalid one is named, and changes nothing."""

from __future__ import annotations

import pytest
import redis

from sidecar.store.commands import changes, scripts
from sidecar.store.commands.keys import account_keys
from sidecar.store.commands.shipped import CREDITS
from tests.store.support import RealLedger, application, demand
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
def test_an_invalid_argument_is_refused_and_changes_nothing(
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


@pytest.mark.parametrize("spends_first", [True, False])
def test_an_operation_may_be_named_by_the_call_that_it_is_for(store_server: StoreServer, spends_first: bool):
    """A backend knows its call by `X-Request-Id`, and may spend for it: neither may keep the other from the ledger."""
    with RealLedger.of_account(store_server) as real:
        real.run(changes.change_credits("main", "acme", "grant", "contact", 50, operation="order-1"))
        asked = application("call-1", demand("contact", 6))
        spend = changes.change_credits("main", "acme", "spend", "contact", 10, operation="call-1")
        real.admit(asked)
        commands = [spend, scripts.settle(asked, None)]
        for command in commands if spends_first else reversed(commands):
            assert real.run(command) == real.run(command), "given twice, it is done once"
        assert real.state().balances == {"contact": 50 - (6 - 4) - 10}  # four were included
        assert real.state().holds == {}
