"""The documented layout: other programs compute these keys too, so the vectors must never change."""

from __future__ import annotations

import hashlib

import pytest

from sidecar.model import AmountKind
from sidecar.store.commands import keys, scripts
from tests.store.support import CALLER, application, demand


def test_vectors_that_other_programs_can_check_themselves_against():
    assert keys.digest("main", "acme") == hashlib.sha256(b"4:main,4:acme,").hexdigest()[:32]
    assert keys.digest("main", "acme") == "dae4044fc17e534c42ada18c1d4eae05"
    assert keys.digest("é") == hashlib.sha256(b"2:\xc3\xa9,").hexdigest()[:32]


def test_every_key_of_an_account_has_its_hash_tag():
    mine = keys.caller_keys(CALLER)
    assert mine.prefix == "mcp:{" + keys.digest("main", "acme") + "}:"
    for key in (
        *(mine.account, mine.ledger, mine.holds, mine.leases, mine.paid, mine.requests, mine.usage, mine.revocation),
        *(mine.consent("s}", "c{"), mine.client("}"), mine.session("{}"), mine.done("1"), mine.outcome("1")),
    ):
        assert key.startswith(mine.prefix)
        assert key.count("{") == key.count("}") == 1


def test_names_cannot_be_shifted_from_one_part_to_the_next():
    assert keys.digest("ab", "c") != keys.digest("a", "bc")
    assert keys.digest("a", "") != keys.digest("a")
    assert keys.digest("1:a,", "b") != keys.digest("a", "b")
    assert keys.account_keys("main", "x").digest != keys.account_keys("main:x", "").digest


def test_request_ids_of_different_types_are_different_requests():
    assert keys.request_digest("s", 7) != keys.request_digest("s", "7")


def test_keys_are_found_again_from_a_scanned_key():
    mine = keys.caller_keys(CALLER)
    assert keys.keys_of(mine.leases) == mine
    with pytest.raises(ValueError, match="account"):
        keys.keys_of("clock")


def test_paid_items_of_a_quota_and_a_pool_of_one_name_are_apart():
    assert keys.paid_member(AmountKind.CREDIT, "contact", "a:b") == "credit:contact:a:b"
    assert keys.paid_member(AmountKind.QUOTA, "contact", "a:b") == "quota:contact:a:b"


def test_encoded_words_of_a_caller_are_its_keys():
    asked = application("c1", demand("requests"), session="s", tasks=("t",))
    mine, who = keys.caller_keys(CALLER), (CALLER.subject, CALLER.client_id)
    records = (mine.account, mine.consent(*who), mine.client(CALLER.client_id), mine.revocation)
    admitted, settled = scripts.admit(asked), scripts.settle(asked, None)
    assert admitted.keys == (*records, *mine.money, mine.outcome("c1"), mine.session("s"), mine.task("t"))
    assert settled.keys == (*mine.money, mine.outcome("c1"))
    assert admitted.key in admitted.keys
    assert settled.key.startswith(mine.prefix)
    assert admitted.arguments[:5] == (CALLER.issuer_id, CALLER.account, *who, "c1")
