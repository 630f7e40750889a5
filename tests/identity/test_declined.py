from __future__ import annotations

from typing import Any

import pytest

from sidecar.identity.declined import WINDOW, Challenges
from sidecar.model import Caller
from tests.identity.support import NOW

SCOPES = ("contacts:reveal", "stores:read")


def caller(*, issued: int = 0, **changes: Any) -> Caller:
    """A caller whose token was issued so many seconds after NOW."""
    made: dict[str, Any] = {
        "issuer_id": "main",
        "issuer": "https://issuer.example",
        "subject": "ada",
        "account": "ada",
        "client_id": "cli-1",
        "scopes": frozenset(),
        "issued_at": NOW + issued,
        "expires_at": NOW + issued + 900,
        **changes,
    }
    return Caller(**made)


@pytest.fixture
def asked() -> Challenges:
    """Ada was asked at NOW + 100, with a token issued at NOW."""
    challenges = Challenges()
    assert not challenges.declined(caller(), SCOPES, NOW + 100)
    return challenges


def test_a_new_token_without_the_scopes_says_no(asked: Challenges):
    for later in (131, 200, 100 + WINDOW - 1):
        assert asked.declined(caller(issued=130), SCOPES, NOW + later)


def test_the_old_token_says_nothing(asked: Challenges):
    assert not asked.declined(caller(), SCOPES, NOW + 101)
    assert not asked.declined(caller(issued=99), SCOPES, NOW + 101)


def test_a_token_of_the_same_second_may_be_older(asked: Challenges):
    assert not asked.declined(caller(issued=100), SCOPES, NOW + 101)
    assert asked.declined(caller(issued=101), SCOPES, NOW + 101)


def test_an_issuer_whose_clock_is_ahead_declines_nothing():
    challenges, ahead = Challenges(), caller(issued=5)
    assert not challenges.declined(ahead, SCOPES, NOW)
    assert not challenges.declined(ahead, SCOPES, NOW + 1)


def test_repeating_the_old_token_does_not_hide_the_answer(asked: Challenges):
    assert not asked.declined(caller(), SCOPES, NOW + 140)
    assert asked.declined(caller(issued=130), SCOPES, NOW + 141)


def test_after_a_while_it_is_asked_again(asked: Challenges):
    again = NOW + 100 + WINDOW
    assert not asked.declined(caller(issued=130), SCOPES, again)
    assert asked.declined(caller(issued=int(WINDOW) + 130), SCOPES, again + 60)


def test_a_clock_that_was_set_back_asks_again(asked: Challenges):
    assert not asked.declined(caller(issued=101), SCOPES, NOW)


def test_the_order_of_scopes_does_not_matter(asked: Challenges):
    assert asked.declined(caller(issued=130), reversed(SCOPES), NOW + 140)


@pytest.mark.parametrize(
    "change",
    [{"issuer_id": "other"}, {"subject": "bob"}, {"client_id": "cli-2"}],
    ids=lambda change: next(iter(change)),
)
def test_nobody_declines_for_another(asked: Challenges, change: dict[str, str]):
    assert not asked.declined(caller(issued=130, **change), SCOPES, NOW + 140)


@pytest.mark.parametrize("scopes", [SCOPES[:1], (*SCOPES, "usage:read"), ()])
def test_other_scopes_are_another_question(asked: Challenges, scopes: tuple[str, ...]):
    assert not asked.declined(caller(issued=130), scopes, NOW + 140)


def test_what_is_remembered_is_bounded():
    challenges = Challenges(capacity=3)
    for number in range(50):
        challenges.declined(caller(subject=f"s{number}"), SCOPES, NOW)
        assert len(challenges._made) <= 3
    assert challenges.declined(caller(subject="s49", issued=30), SCOPES, NOW + 40)
    assert not challenges.declined(caller(subject="s1", issued=30), SCOPES, NOW + 40)
