"""Opaque tokens through gate 2, against an endpoint over HTTP and clocks that stand still."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sidecar.errors import ErrorCode
from sidecar.identity.authenticator import Authenticator
from sidecar.identity.issuers import IssuerRegistry
from sidecar.identity.opaque.introspection_endpoint import MAX_KNOWN, IntrospectionEndpoint
from tests.identity.support import NOW, Clock, Gates, ask, code, configured, enter, made_up, refused, tokens_of
from tests.support.introspection import Introspection
from tests.support.issuer import RESOURCE, Issuer, Signer
from tests.support.store import until

INVALID, UNAVAILABLE = ErrorCode.TOKEN_INVALID, ErrorCode.ISSUER_UNAVAILABLE


# --- whom a token speaks for ---------------------------------------------------------------------


async def test_a_good_token_is_a_caller(issuer: Issuer, endpoint: Introspection, gates: Gates):
    who = await enter(gates(), endpoint.mint(subject="bob", scopes=["stores:read"]))
    assert (who.issuer_id, who.issuer, who.subject, who.client_id) == ("main", issuer.url, "bob", "cli-1")
    assert who.scopes == {"stores:read"}
    assert issuer.requests == []  # no key is needed for it


@pytest.mark.parametrize(
    "members",
    [
        {"aud": "https://other.example"},
        {"aud": None},
        {"iss": "https://evil.example"},
        {"cnf": {"jkt": "x"}},
        {"token_type": "DPoP"},
        {"exp": NOW - 100, "iat": NOW - 200},
        {"sub": None, "username": "ada"},
        {"active": "true"},
        {"active": 1},
    ],
)
async def test_an_answer_is_checked_against_the_config(endpoint: Introspection, gates: Gates, members: dict[str, Any]):
    with refused(INVALID):
        await enter(gates(), endpoint.mint(**members))


@pytest.mark.parametrize("token", ["a b", "a\x7f", "a%", "é", "\udcff", "=", "x" * 16385])
async def test_malformed_tokens_are_not_sent_to_an_issuer(endpoint: Introspection, gates: Gates, token: str):
    with refused(INVALID, "form"):
        await enter(gates(), token)
    assert token not in endpoint.asked


async def test_without_introspection_an_opaque_token_is_refused(issuer: Issuer, ring: IssuerRegistry, clock: Clock):
    gate = Authenticator(RESOURCE, [configured(issuer)], ring, clock=clock)
    with refused(INVALID, "not a signed JWT"):
        await enter(gate, "opaque-token")


# --- JWTs are never introspected -----------------------------------------------------------------


async def test_a_jwt_of_the_issuer_is_verified_with_its_keys(issuer: Issuer, endpoint: Introspection, gates: Gates):
    gate = gates()
    assert (await enter(gate, issuer.mint(subject="jo"))).subject == "jo"
    with refused(INVALID, "signature"):
        await enter(gate, issuer.mint(signer=Signer(kid=issuer.signer.kid, number=9)))
    assert endpoint.about_minted == []
    assert issuer.key_fetches == 1


@pytest.mark.parametrize(
    "spelled", ["{}", "{}=", "{}==", "+{}", "{}/", "~{}", "{}x"], ids=["as it is", *(f"with {n}" for n in "123456")]
)
@pytest.mark.parametrize("change", [{"iss": "https://other.example"}, {"iss": None}, {"aud": "x"}, {"exp": 1}])
async def test_a_jwt_that_is_not_good_here_is_not_asked_about(
    issuer: Issuer, endpoint: Introspection, gates: Gates, change: dict[str, Any], spelled: str
):
    token = spelled.format(issuer.mint(**change))
    gate = gates()
    for shown in (token, token.rpartition(".")[0] + "."):
        with refused(INVALID):
            await enter(gate, shown)
        assert shown not in endpoint.asked


async def test_one_of_several_issuers_has_introspection(
    issuer: Issuer, endpoint: Introspection, gates: Gates, ring: IssuerRegistry, clock: Clock
):
    async with Issuer(Signer(number=5), clock=clock) as other:
        settings = [configured(other, id="two"), gates.settings({"id": "one"})]
        gate = Authenticator(RESOURCE, settings, ring, clock=clock)
        assert (await enter(gate, other.mint())).issuer_id == "two"
        assert (await enter(gate, issuer.mint())).issuer_id == "one"
        assert (await enter(gate, endpoint.mint())).issuer_id == "one"
        with refused(INVALID):
            await enter(gate, endpoint.mint(iss=other.url))


# --- how long an answer is used ------------------------------------------------------------------


@pytest.mark.parametrize(("cache", "seconds"), [("30s", 30), ("1s", 1), ("250ms", 0.25), ("1h", 3600)])
async def test_an_answer_is_used_as_long_as_configured_and_no_longer(
    endpoint: Introspection, gates: Gates, clock: Clock, cache: str, seconds: float
):
    gate, token = gates(cache=cache), endpoint.mint(exp=NOW + 100_000)
    await enter(gate, token)
    clock.now += seconds - 0.01
    await enter(gate, token)
    assert endpoint.questions(token) == 1
    clock.now += 0.01
    await enter(gate, token)
    assert endpoint.questions(token) == 2


async def test_a_revoked_token_is_refused_when_its_answer_is_no_longer_used(
    endpoint: Introspection, gates: Gates, clock: Clock
):
    gate, token = gates(cache="30s"), endpoint.mint()
    await enter(gate, token)
    endpoint.revoke(token)
    clock.now += 29
    assert await code(gate, token) is None
    clock.now += 1
    assert await code(gate, token) is INVALID


async def test_a_cached_refusal_says_what_was_wrong(endpoint: Introspection, gates: Gates):
    gate, token = gates(cache="30s"), endpoint.mint(token_use="refresh_token")
    said = []
    for _ in range(2):
        with refused(INVALID, "refresh token") as info:
            await enter(gate, token)
        said.append((info.value.detail, info.value.log, dict(info.value.specifics)))
    assert said[0] == said[1]
    assert said[0][2]["found"] == "refresh_token"
    assert endpoint.questions(token) == 1


async def test_answers_are_not_cached_when_cache_is_zero(endpoint: Introspection, gates: Gates):
    gate, token = gates(cache="0s"), endpoint.mint()
    for count in range(1, 6):
        await enter(gate, token)
        assert endpoint.questions(token) == count
    endpoint.revoke(token)
    assert await code(gate, token) is INVALID


async def test_an_answer_is_never_used_beyond_the_token_s_end(endpoint: Introspection, gates: Gates, clock: Clock):
    gate, token = gates(cache="1h"), endpoint.mint(exp=NOW + 5)
    await enter(gate, token)
    clock.now += 14  # 10 of them leeway
    await enter(gate, token)
    assert endpoint.questions(token) == 1
    clock.now += 1
    with refused(INVALID, "expired"):
        await enter(gate, token)


async def test_a_token_without_an_end_ends_with_its_answer(endpoint: Introspection, gates: Gates, clock: Clock):
    gate, token = gates(cache="30s"), endpoint.mint(exp=None)
    assert (await enter(gate, token)).expires_at == NOW + 30
    clock.now += 40
    assert (await enter(gate, token)).expires_at == NOW + 70
    assert endpoint.questions(token) == 2


async def test_setting_the_clock_back_lengthens_nothing(endpoint: Introspection, issuer: Issuer):
    wall, steady = Clock(), Clock(1000)
    async with IssuerRegistry(monotonic=steady, clock=wall) as ring:
        settings = configured(issuer, introspection={**endpoint.settings, "cache": "30s"})
        gate, token = Authenticator(RESOURCE, [settings], ring, clock=wall), endpoint.mint()
        await enter(gate, token)
        endpoint.revoke(token)
        wall.now -= 100
        steady.now += 30
        assert await code(gate, token) is INVALID


async def test_an_answer_ages_from_when_it_was_asked_for(endpoint: Introspection, gates: Gates, clock: Clock):
    gate, token = gates(cache="30s"), endpoint.mint()
    endpoint.hold.clear()
    waiting = asyncio.create_task(enter(gate, token))
    await until(lambda: endpoint.questions(token) == 1)
    clock.now += 20
    endpoint.hold.set()
    await waiting
    clock.now += 9
    await enter(gate, token)
    assert endpoint.questions(token) == 1
    clock.now += 1
    await enter(gate, token)
    assert endpoint.questions(token) == 2


async def test_a_reload_forgets_answers(endpoint: Introspection, gates: Gates, ring: IssuerRegistry):
    token = endpoint.mint()
    await enter(gates(), token)
    stricter = gates.settings({"audience": "api"})
    await ring.retain([stricter])
    with refused(INVALID, "another resource"):
        await enter(gates({"audience": "api"}), token)
    await enter(gates(), token)
    assert endpoint.questions(token) == 3


async def test_a_token_without_iat_stays_as_old_as_it_is(
    endpoint: Introspection, gates: Gates, clock: Clock, ring: IssuerRegistry
):
    gate, token = gates(cache="1s"), endpoint.mint(iat=None)
    for _ in range(3):
        assert (await enter(gate, token)).issued_at == NOW
        clock.now += 5
    await ring.retain([gates.settings()])
    assert (await enter(gates(), token)).issued_at == NOW
    assert (await enter(gates(), endpoint.mint(iat=None))).issued_at == NOW + 15


async def test_the_memory_is_bounded(endpoint: Introspection, gates: Gates, ring: IssuerRegistry, clock: Clock):
    settings = gates.settings()
    tokens = tokens_of(settings, ring.endpoint(settings), clock, capacity=6)
    good = [endpoint.mint() for _ in range(5)]
    for token in [*good, *good]:
        await ask(tokens, token)
        assert len(tokens._accepted) <= 3
    questions = len(endpoint.about_minted)
    for token in made_up(20):
        with refused(INVALID):
            await ask(tokens, token)
        assert len(tokens._refused) <= 6
    for token in good[-3:]:  # what is made up pushes out nothing that is good
        await ask(tokens, token)
    assert len(endpoint.about_minted) == questions
    assert not any(token in f"{tokens._accepted!r}{tokens._refused!r}" for token in endpoint.asked)


def test_known_tokens_are_bounded(clock: Clock):
    async def ask(token: str) -> dict[str, Any]:
        return {"active": True}

    known = IntrospectionEndpoint(ask, monotonic=clock, clock=clock)
    for number in range(MAX_KNOWN + 50):
        known.accepted(b"%d" % number, NOW)
        known.accepted(b"0", NOW)
    assert len(known._known) == MAX_KNOWN
    assert b"0" in known._known  # the one that is used


# --- one question for many calls -----------------------------------------------------------------


async def test_many_calls_with_one_token_are_one_question(endpoint: Introspection, gates: Gates):
    gate, token = gates(), endpoint.mint()
    callers = await asyncio.gather(*(enter(gate, token) for _ in range(200)))
    assert len(set(callers)) == 1
    assert endpoint.questions(token) == 1


async def test_a_call_is_not_answered_by_a_question_older_than_configured(
    endpoint: Introspection, gates: Gates, clock: Clock
):
    gate, token = gates(cache="0s"), endpoint.mint()
    endpoint.hold.clear()
    first = asyncio.create_task(enter(gate, token))
    await until(lambda: endpoint.questions(token) == 1)
    clock.now += 0.5
    later = [asyncio.create_task(enter(gate, token)) for _ in range(20)]
    await asyncio.sleep(0)
    endpoint.hold.set()
    await asyncio.gather(first, *later)
    assert endpoint.questions(token) == 2


async def test_cancelling_one_waiter_leaves_the_answer_to_the_others(endpoint: Introspection, gates: Gates):
    gate, token = gates(), endpoint.mint()
    endpoint.hold.clear()
    tasks = [asyncio.create_task(enter(gate, token)) for _ in range(3)]
    await until(lambda: endpoint.questions(token) == 1)
    tasks[0].cancel()
    await asyncio.wait(tasks[:1])
    endpoint.hold.set()
    assert (await tasks[1]) is (await tasks[2])
    assert endpoint.questions(token) == 1
