"""Opaque tokens through gate 2, against an endpoint over HTTP and clocks that stand still."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sidecar.config.settings import Issuer as Settings
from sidecar.errors import ErrorCode, Refusal
from sidecar.identity import opaque
from sidecar.identity.authenticator import Authenticator
from sidecar.identity.discovery import session
from sidecar.identity.endpoint import BURST, MAX_KNOWN, PLACES, PROBE_EVERY, RATE, WAITING, Endpoint
from sidecar.identity.introspection import Introspector
from sidecar.identity.ring import KeyRing
from sidecar.model import Caller
from tests.identity.support import NOW, Clock, configured, refused
from tests.support.introspection import Introspection
from tests.support.issuer import RESOURCE, Issuer, Signer
from tests.support.store import until

INVALID, UNAVAILABLE = ErrorCode.TOKEN_INVALID, ErrorCode.ISSUER_UNAVAILABLE


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def issuer(clock: Clock) -> AsyncIterator[Issuer]:
    async with Issuer(clock=clock) as served:
        yield served


@pytest.fixture
async def endpoint(issuer: Issuer, clock: Clock) -> AsyncIterator[Introspection]:
    async with Introspection(issuer=issuer.url, clock=clock) as served:
        yield served


@pytest.fixture
def outcomes() -> Counter[str]:
    """What became of the questions."""
    return Counter()


@pytest.fixture
async def ring(clock: Clock, outcomes: Counter[str]) -> AsyncIterator[KeyRing]:
    async with KeyRing(monotonic=clock, clock=clock, introspected=lambda outcome: outcomes.update([outcome])) as opened:
        yield opened


class Gates:
    """Makes gate 2 for a config; further settings are those of `introspection`, or named `issuer_…`."""

    def __init__(self, issuer: Issuer, endpoint: Introspection, ring: KeyRing, clock: Clock) -> None:
        self._issuer = issuer
        self._endpoint = endpoint
        self._ring = ring
        self._clock = clock

    def settings(self, issuer: dict[str, Any] | None = None, **changes: Any) -> Settings:
        return configured(self._issuer, introspection={**self._endpoint.settings, **changes}, **(issuer or {}))

    def __call__(self, issuer: dict[str, Any] | None = None, **changes: Any) -> Authenticator:
        return Authenticator(RESOURCE, [self.settings(issuer, **changes)], self._ring, clock=self._clock)


@pytest.fixture
def gates(issuer: Issuer, endpoint: Introspection, ring: KeyRing, clock: Clock) -> Gates:
    return Gates(issuer, endpoint, ring, clock)


async def enter(gate: Authenticator, token: str) -> Caller:
    return await gate.authenticate([f"Bearer {token}"])


async def code(gate: Authenticator, token: str) -> ErrorCode | None:
    """What refuses a token; None when nothing does."""
    try:
        await enter(gate, token)
    except Refusal as refusal:
        return refusal.code
    return None


def made_up(count: int) -> list[str]:
    return [secrets.token_urlsafe(24) for _ in range(count)]


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
        {"sub": None},
        {"active": "true"},
        {"active": 1},
    ],
)
async def test_an_answer_is_held_against_the_config(endpoint: Introspection, gates: Gates, members: dict[str, Any]):
    with refused(INVALID):
        await enter(gates(), endpoint.mint(**members))


@pytest.mark.parametrize("token", ["a b", "a\x7f", "a%", "é", "\udcff", "=", "x" * 16385])
async def test_what_has_not_the_form_of_a_token_is_sent_to_nobody(endpoint: Introspection, gates: Gates, token: str):
    with refused(INVALID, "form"):
        await enter(gates(), token)
    assert token not in endpoint.asked


async def test_without_introspection_an_opaque_token_is_refused(issuer: Issuer, ring: KeyRing, clock: Clock):
    gate = Authenticator(RESOURCE, [configured(issuer)], ring, clock=clock)
    with refused(INVALID, "not a signed JWT"):
        await enter(gate, "opaque-token")


# --- JWTs are shown to nobody --------------------------------------------------------------------


async def test_a_jwt_of_the_issuer_goes_by_its_keys(issuer: Issuer, endpoint: Introspection, gates: Gates):
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


async def test_several_issuers_and_one_that_is_asked(
    issuer: Issuer, endpoint: Introspection, gates: Gates, ring: KeyRing, clock: Clock
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


async def test_nothing_is_used_twice_when_that_is_configured(endpoint: Introspection, gates: Gates):
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
    async with KeyRing(monotonic=steady, clock=wall) as ring:
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


async def test_a_reload_forgets_answers(endpoint: Introspection, gates: Gates, ring: KeyRing):
    token = endpoint.mint()
    await enter(gates(), token)
    stricter = gates.settings({"audience": "api"})
    await ring.retain([stricter])
    with refused(INVALID, "another resource"):
        await enter(gates({"audience": "api"}), token)
    await enter(gates(), token)
    assert endpoint.questions(token) == 3


async def test_a_token_without_iat_stays_as_old_as_it_is(
    endpoint: Introspection, gates: Gates, clock: Clock, ring: KeyRing
):
    gate, token = gates(cache="1s"), endpoint.mint(iat=None)
    for _ in range(3):
        assert (await enter(gate, token)).issued_at == NOW
        clock.now += 5
    await ring.retain([gates.settings()])
    assert (await enter(gates(), token)).issued_at == NOW
    assert (await enter(gates(), endpoint.mint(iat=None))).issued_at == NOW + 15


def tokens_of(settings: Settings, asked: Endpoint | None, clock: Clock, capacity: int = 100) -> opaque.OpaqueTokens:
    """The part of gate 2 that is about opaque tokens."""
    introspection = settings.introspection
    assert introspection is not None
    assert asked is not None
    return opaque.OpaqueTokens(
        RESOURCE, settings, introspection, asked, monotonic=clock, clock=clock, capacity=capacity
    )


async def ask(tokens: opaque.OpaqueTokens, token: str) -> Caller:
    return await tokens.caller(token, hashlib.sha256(token.encode()).digest())


async def test_what_is_remembered_is_bounded(endpoint: Introspection, gates: Gates, ring: KeyRing, clock: Clock):
    settings = gates.settings()
    tokens = tokens_of(settings, ring.endpoint(settings), clock, capacity=3)
    good = [endpoint.mint() for _ in range(5)]
    for token in [*good, *good]:
        await ask(tokens, token)
        assert len(tokens._good) <= 3
    questions = len(endpoint.about_minted)
    for token in made_up(20):
        with refused(INVALID):
            await ask(tokens, token)
        assert len(tokens._bad) <= 3
    for token in good[-3:]:  # what is made up pushes out nothing that is good
        await ask(tokens, token)
    assert len(endpoint.about_minted) == questions
    assert not any(token in f"{tokens._good!r}{tokens._bad!r}" for token in endpoint.asked)


def test_known_tokens_are_bounded(clock: Clock):
    async def ask(token: str) -> dict[str, Any]:
        return {"active": True}

    known = Endpoint(ask, monotonic=clock, clock=clock)
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


async def test_who_gives_up_takes_nobody_s_answer_away(endpoint: Introspection, gates: Gates):
    gate, token = gates(), endpoint.mint()
    endpoint.hold.clear()
    tasks = [asyncio.create_task(enter(gate, token)) for _ in range(3)]
    await until(lambda: endpoint.questions(token) == 1)
    tasks[0].cancel()
    await asyncio.wait(tasks[:1])
    endpoint.hold.set()
    assert (await tasks[1]) is (await tasks[2])
    assert endpoint.questions(token) == 1


# --- bad tokens ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("cache", "seconds"), [("30s", 10), ("1h", 10), ("2s", 2)])
async def test_a_bad_token_is_not_asked_about_again_at_once(
    endpoint: Introspection, gates: Gates, clock: Clock, cache: str, seconds: int
):
    gate = gates(cache=cache)
    for _ in range(50):
        assert await code(gate, "made-up") is INVALID
    assert endpoint.questions("made-up") == 1
    clock.now += seconds - 0.01
    assert await code(gate, "made-up") is INVALID
    assert endpoint.questions("made-up") == 1
    clock.now += 0.01
    assert await code(gate, "made-up") is INVALID
    assert endpoint.questions("made-up") == 2


async def test_a_token_that_becomes_good_is_good_soon(endpoint: Introspection, gates: Gates, clock: Clock):
    gate, token = gates(), endpoint.mint(nbf=NOW + 15)
    with refused(INVALID, "not valid yet"):
        await enter(gate, token)
    clock.now += opaque.NEGATIVE
    await enter(gate, token)


async def test_made_up_tokens_are_asked_about_so_many_times_and_no_more(
    endpoint: Introspection, gates: Gates, clock: Clock, outcomes: Counter[str]
):
    gate = gates(cache="0s")
    flood = made_up(BURST + 50)
    found = Counter([await code(gate, token) for token in flood])
    assert found == {INVALID: BURST, UNAVAILABLE: 50}
    assert outcomes == {"inactive": BURST, "not_asked": 50}
    assert sum(map(endpoint.questions, flood)) == BURST
    clock.now += 1
    more = made_up(BURST)
    found = Counter([await code(gate, token) for token in more])
    assert found == {INVALID: RATE, UNAVAILABLE: BURST - RATE}
    assert sum(map(endpoint.questions, more)) == RATE


async def test_a_refused_flood_is_told_to_come_back(endpoint: Introspection, gates: Gates):
    gate = gates()
    for token in made_up(BURST):
        await code(gate, token)
    with refused(UNAVAILABLE) as info:
        await enter(gate, endpoint.mint())
    assert info.value.retry_after == 1
    assert "too many questions" in str(info.value.log)


@pytest.fixture
async def patient(gates: Gates, clock: Clock) -> AsyncIterator[opaque.OpaqueTokens]:
    """Opaque tokens with all the time of a busy machine; an answer is used for a second."""
    settings = gates.settings(cache="1s")
    assert settings.introspection is not None
    async with session() as client:
        introspector = Introspector(client, settings.introspection)
        asked = Endpoint(introspector.ask, monotonic=clock, clock=clock, timeout=50)
        yield tokens_of(settings, asked, clock, capacity=2000)
        await asked.close()


async def verdict(tokens: opaque.OpaqueTokens, token: str) -> ErrorCode | None:
    """What refuses a token; None when nothing does."""
    try:
        await ask(tokens, token)
    except Refusal as refusal:
        return refusal.code
    return None


async def test_known_callers_do_not_notice_a_flood(endpoint: Introspection, patient: opaque.OpaqueTokens, clock: Clock):
    known = [endpoint.mint() for _ in range(40)]
    await asyncio.gather(*(ask(patient, token) for token in known))
    clock.now += 1
    flood = made_up(PLACES + WAITING + 100)
    endpoint.hold.clear()
    endpoint.held = held = set(flood)
    attack = [asyncio.create_task(verdict(patient, token)) for token in flood]
    await until(lambda: len(held.intersection(endpoint.asked)) == PLACES)
    for token in known:
        await ask(patient, token)
        assert endpoint.questions(token) == 2
    assert sum(map(endpoint.questions, flood)) == PLACES
    endpoint.hold.set()
    found = Counter(await asyncio.gather(*attack))
    assert found == {INVALID: BURST, UNAVAILABLE: len(flood) - BURST}
    assert sum(map(endpoint.questions, flood)) == BURST
    clock.now += 1
    await ask(patient, endpoint.mint())  # a newcomer, as soon as there is room


async def test_a_token_for_another_resource_is_a_bad_one(endpoint: Introspection, gates: Gates):
    gate = gates(cache="0s")
    elsewhere = [endpoint.mint(aud="https://other.example") for _ in range(BURST + 20)]
    assert Counter([await code(gate, token) for token in elsewhere]) == {INVALID: BURST, UNAVAILABLE: 20}


async def test_many_new_callers_at_once_all_get_in(endpoint: Introspection, patient: opaque.OpaqueTokens):
    tokens = [endpoint.mint() for _ in range(4 * BURST)]
    assert Counter(await asyncio.gather(*(verdict(patient, token) for token in tokens))) == {None: len(tokens)}
    assert endpoint.at_once <= PLACES


# --- no answer -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"fault": 500},
        {"fault": 401},
        {"fault": 429},
        {"fault": 302},
        {"body": b"[]"},
        {"body": b"{}"},
        {"body": b'{"active": true, "active": true}'},
        {"content_type": "text/html"},
        {"drop": 9},
    ],
    ids=lambda change: "-".join(f"{name}-{value}" for name, value in change.items()),
)
async def test_no_answer_is_neither_yes_nor_no(
    endpoint: Introspection, gates: Gates, clock: Clock, change: dict[str, Any], outcomes: Counter[str]
):
    gate, good, bad = gates(cache="1s"), endpoint.mint(), "made-up"
    await enter(gate, good)
    clock.now += 1
    before = {name: getattr(endpoint, name) for name in change}
    for name, value in change.items():
        setattr(endpoint, name, value)
    for token in (good, bad):
        with refused(UNAVAILABLE) as info:
            await enter(gate, token)
        assert info.value.retry_after == 1
        assert str(info.value.log).startswith("introspection: ")
    assert outcomes["failed"] >= 1
    for name, value in before.items():
        setattr(endpoint, name, value)
    clock.now += 1
    await enter(gate, good)
    with refused(INVALID):
        await enter(gate, bad)


async def test_a_failure_is_not_repeated_for_every_call(endpoint: Introspection, gates: Gates, clock: Clock):
    gate, token = gates(cache="0s"), endpoint.mint()
    endpoint.fault = 500
    for _ in range(100):
        assert await code(gate, token) is UNAVAILABLE
    assert endpoint.questions(token) == 1
    clock.now += opaque.RETRY
    assert await code(gate, token) is UNAVAILABLE
    assert endpoint.questions(token) == 2


async def test_an_endpoint_that_does_not_answer_is_not_waited_for(endpoint: Introspection, gates: Gates, clock: Clock):
    settings = gates.settings()
    assert settings.introspection is not None
    endpoint.hold.clear()
    async with session() as client:
        asked = Endpoint(Introspector(client, settings.introspection).ask, monotonic=clock, clock=clock, timeout=0.05)
        with refused(UNAVAILABLE) as info:
            await ask(tokens_of(settings, asked, clock), endpoint.mint())
        assert "no answer in time" in str(info.value.log)
        await asked.close()


async def test_an_endpoint_that_wants_fewer_questions_gets_none_about_strangers(
    endpoint: Introspection, gates: Gates, clock: Clock
):
    gate, known, new = gates(cache="1s"), endpoint.mint(), endpoint.mint()
    await enter(gate, known)
    endpoint.fault, endpoint.headers = 429, {"Retry-After": "20"}
    with refused(UNAVAILABLE) as info:
        await enter(gate, "made-up")
    assert info.value.retry_after == 20
    endpoint.fault = None
    clock.now += 5
    await enter(gate, known)
    with refused(UNAVAILABLE) as info:
        await enter(gate, new)
    assert info.value.retry_after == 15
    assert endpoint.questions(new) == 0
    clock.now += 15
    await enter(gate, new)


async def test_a_ring_that_closes_leaves_nobody_waiting(endpoint: Introspection, issuer: Issuer, clock: Clock):
    async with KeyRing(monotonic=clock, clock=clock) as ring:
        settings = configured(issuer, introspection=endpoint.settings)
        gate = Authenticator(RESOURCE, [settings], ring, clock=clock)
        endpoint.hold.clear()
        waiting = asyncio.create_task(enter(gate, endpoint.mint()))
        await until(lambda: bool(endpoint.about_minted))
    with refused(UNAVAILABLE):
        await waiting


# --- how the endpoint is -------------------------------------------------------------------------


async def probed(endpoint: Introspection, ring: KeyRing, settings: Settings, clock: Clock) -> str | None:
    """Let time pass until a probe is due; what it finds to be missing."""
    asked, before = ring.endpoint(settings), len(endpoint.asked)
    assert asked is not None
    clock.now += PROBE_EVERY
    asked.tend()
    probes = list(asked._tasks)
    await asyncio.gather(*probes)
    assert len(endpoint.asked) == before + len(probes)
    return ring.lack(settings)


async def test_it_is_asked_at_start_how_it_is(endpoint: Introspection, gates: Gates, ring: KeyRing, clock: Clock):
    settings = gates.settings()
    assert ring.lack(settings) is None  # nothing is known against it
    endpoint.fault = 401
    assert "refuses the configured client_id" in str(await probed(endpoint, ring, settings, clock))
    endpoint.fault = None
    assert await probed(endpoint, ring, settings, clock) is None
    count = len(endpoint.asked)
    assert await probed(endpoint, ring, settings, clock) is None
    assert len(endpoint.asked) == count  # it is well: there is nothing to ask
    assert len(set(endpoint.asked)) == count


async def test_one_token_s_failure_is_no_verdict_on_the_endpoint(
    endpoint: Introspection, gates: Gates, ring: KeyRing, clock: Clock
):
    settings, gate = gates.settings(), gates()
    assert await probed(endpoint, ring, settings, clock) is None
    endpoint.drop = 2
    assert await code(gate, "poison") is UNAVAILABLE
    assert ring.lack(settings) is None
    assert await probed(endpoint, ring, settings, clock) is None


async def test_an_endpoint_that_is_down_is_missed_until_it_answers(
    endpoint: Introspection, gates: Gates, ring: KeyRing, clock: Clock
):
    settings, gate = gates.settings(), gates()
    assert await probed(endpoint, ring, settings, clock) is None
    endpoint.fault = 500
    assert await code(gate, "made-up") is UNAVAILABLE
    for _ in range(2):
        assert "500" in str(await probed(endpoint, ring, settings, clock))
    endpoint.fault = 429  # which is an answer
    assert await probed(endpoint, ring, settings, clock) is None
    endpoint.fault = 500
    assert await code(gate, "made-up") is UNAVAILABLE
    assert "500" in str(await probed(endpoint, ring, settings, clock))
    endpoint.fault = None
    await enter(gate, endpoint.mint())
    assert ring.lack(settings) is None


async def test_keys_are_another_way(issuer: Issuer, endpoint: Introspection, gates: Gates, ring: KeyRing, clock: Clock):
    settings = gates.settings({"jwks_uri": issuer.jwks_uri})
    await ring.of(settings).refresh()
    endpoint.fault = 500
    assert await probed(endpoint, ring, settings, clock) is None
    assert ring.endpoint(settings).problem  # type: ignore[union-attr]


async def test_an_issuer_that_is_asked_is_not_polled_for_keys(
    issuer: Issuer, gates: Gates, ring: KeyRing, clock: Clock
):
    keys = ring.of(gates.settings())
    for _ in range(3):
        keys.tend()
        clock.now += 100
    assert issuer.requests == []
    assert await keys.refresh()
    clock.now += 1000
    keys.tend()
    await until(lambda: issuer.key_fetches == 2)  # once it has some, they are kept fresh


async def test_a_new_secret_is_another_endpoint(gates: Gates, ring: KeyRing):
    first = ring.endpoint(gates.settings())
    assert ring.endpoint(gates.settings(cache="1s")) is first
    changed = gates.settings(client_secret="new")
    assert ring.endpoint(changed) is not first
    await ring.retain([changed])
    assert ring.endpoint(gates.settings()) is not first
