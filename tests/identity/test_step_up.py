from __future__ import annotations

from typing import Any

import pytest

from sidecar.identity.step_up import WINDOW, StepUpHistory
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
def asked() -> StepUpHistory:
    """Ada was asked at NOW + 100, with a token issued at NOW."""
    challenges = StepUpHistory()
    assert not challenges.unsatisfied(caller(), SCOPES, NOW + 100)
    return challenges


def test_a_new_token_without_the_scopes_is_not_challenged_again(asked: StepUpHistory):
    for later in (131, 200, 100 + WINDOW - 1):
        assert asked.unsatisfied(caller(issued=130), SCOPES, NOW + later)


def test_the_challenged_token_is_no_answer(asked: StepUpHistory):
    assert not asked.unsatisfied(caller(), SCOPES, NOW + 101)
    assert not asked.unsatisfied(caller(issued=99), SCOPES, NOW + 101)


def test_a_token_of_the_same_second_may_be_older(asked: StepUpHistory):
    assert not asked.unsatisfied(caller(issued=100), SCOPES, NOW + 101)
    assert asked.unsatisfied(caller(issued=101), SCOPES, NOW + 101)


def test_the_challenged_token_of_an_issuer_whose_clock_is_ahead_is_no_answer():
    challenges, ahead = StepUpHistory(), caller(issued=5)
    assert not challenges.unsatisfied(ahead, SCOPES, NOW)
    assert not challenges.unsatisfied(ahead, SCOPES, NOW + 1)


def test_repeating_the_old_token_does_not_hide_the_answer(asked: StepUpHistory):
    assert not asked.unsatisfied(caller(), SCOPES, NOW + 140)
    assert asked.unsatisfied(caller(issued=130), SCOPES, NOW + 141)


def test_an_unsatisfied_challenge_expires(asked: StepUpHistory):
    again = NOW + 100 + WINDOW
    assert not asked.unsatisfied(caller(issued=130), SCOPES, again)
    assert asked.unsatisfied(caller(issued=int(WINDOW) + 130), SCOPES, again + 60)


def test_a_clock_set_back_repeats_the_challenge(asked: StepUpHistory):
    assert not asked.unsatisfied(caller(issued=101), SCOPES, NOW)


def test_the_order_of_scopes_does_not_matter(asked: StepUpHistory):
    assert asked.unsatisfied(caller(issued=130), reversed(SCOPES), NOW + 140)


@pytest.mark.parametrize(
    "change",
    [{"issuer_id": "other"}, {"subject": "bob"}, {"client_id": "cli-2"}],
    ids=lambda change: next(iter(change)),
)
def test_a_challenge_is_of_one_caller(asked: StepUpHistory, change: dict[str, str]):
    assert not asked.unsatisfied(caller(issued=130, **change), SCOPES, NOW + 140)


@pytest.mark.parametrize("scopes", [SCOPES[:1], (*SCOPES, "usage:read"), ()])
def test_other_scopes_are_another_challenge(asked: StepUpHistory, scopes: tuple[str, ...]):
    assert not asked.unsatisfied(caller(issued=130), scopes, NOW + 140)


def test_the_memory_is_bounded():
    challenges = StepUpHistory(capacity=3)
    for number in range(50):
        challenges.unsatisfied(caller(subject=f"s{number}"), SCOPES, NOW)
        assert len(challenges._made) <= 3
    assert challenges.unsatisfied(caller(subject="s49", issued=30), SCOPES, NOW + 40)
    assert not challenges.unsatisfied(caller(subject="s1", issued=30), SCOPES, NOW + 40)


def test_the_challenges_of_one_client_evict_no_other_clients():
    gone: list[object] = []
    challenges = StepUpHistory(capacity=6, evicted=gone.append)
    challenges.unsatisfied(caller(subject="bob"), SCOPES, NOW + 100)
    for number in range(50):
        challenges.unsatisfied(caller(), (f"scope:{number}",), NOW + 100)
    assert challenges.unsatisfied(caller(subject="bob", issued=130), SCOPES, NOW + 140)
    assert gone == [("main", "ada", "cli-1")] * 47


def test_after_a_token_with_the_scopes_a_new_login_without_them_is_challenged_again(asked: StepUpHistory):
    asked.satisfied(caller(issued=110), {*SCOPES, "usage:read"})
    assert not asked.unsatisfied(caller(issued=130), SCOPES, NOW + 140)
    assert asked.unsatisfied(caller(issued=150), SCOPES, NOW + 160), "a login that adds nothing starts no other one"


def test_new_logins_that_never_have_the_scopes_are_not_challenged_again(asked: StepUpHistory):
    for later in range(130, 330, 20):
        asked.satisfied(caller(issued=later), set(SCOPES[1:]))  # by calls for which its scopes are enough
        assert asked.unsatisfied(caller(issued=later), SCOPES, NOW + later)


def test_an_earlier_token_with_the_scopes_does_not_answer_for_the_next_login(asked: StepUpHistory):
    asked.satisfied(caller(issued=-1), {*SCOPES})
    assert asked.unsatisfied(caller(issued=130), SCOPES, NOW + 140)


def test_a_wider_token_beside_narrow_logins_costs_them_one_more_challenge_at_most(asked: StepUpHistory):
    wide = caller(issued=50)
    asked.satisfied(wide, {*SCOPES})
    assert not asked.unsatisfied(caller(issued=130), SCOPES, NOW + 140)
    asked.satisfied(wide, {*SCOPES})
    assert asked.unsatisfied(caller(issued=150), SCOPES, NOW + 160)


@pytest.mark.parametrize("change", [{"issuer_id": "other"}, {"subject": "bob"}, {"client_id": "cli-2"}])
def test_a_token_of_another_caller_satisfies_no_challenge(asked: StepUpHistory, change: dict[str, str]):
    asked.satisfied(caller(issued=110, **change), {*SCOPES})
    assert asked.unsatisfied(caller(issued=130), SCOPES, NOW + 140)
