from __future__ import annotations

import asyncio

import pytest

from sidecar.errors import ErrorCode, Refusal
from sidecar.identity.jwt.discovery import FetchError
from sidecar.identity.jwt.issuer_keys import INTERVAL, REFRESH, STALE, Keys, KeySet
from sidecar.identity.jwt.jwt_claims import read
from tests.identity.support import NOW, Clock, configured, refused
from tests.support.issuer import Issuer, Signer


class Rig:
    """A key set whose issuer is this object; both clocks pass together."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.issuer = Issuer(clock=self.clock)
        self.began: list[float] = []
        self.problem: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.keys = KeySet(
            configured(self.issuer), self.fetch, monotonic=lambda: self.clock.now - NOW, clock=self.clock
        )

    async def fetch(self) -> object:
        self.began.append(self.clock.now - NOW)
        document = self.issuer.jwks  # as of the beginning
        await self.gate.wait()
        if self.problem is not None:
            raise self.problem
        return document

    @property
    def fetches(self) -> int:
        return len(self.began)

    def sleep(self, seconds: float) -> None:
        self.clock.now += seconds

    async def verify(self, *, signer: Signer | None = None, age: int = 0, kid: bool = True) -> Keys:
        token = read(self.issuer.mint(signer=signer, header={} if kid else {"kid": None}))
        return await self.keys.verify(token, int(self.clock.now) - age, 10)

    async def down(self) -> None:
        """The issuer fails from now on."""
        self.problem = FetchError("the key set was answered with status 500")

    def table(self) -> Keys:
        table = self.keys.current()
        assert table is not None
        return table


@pytest.fixture
async def rig() -> Rig:
    return Rig()


@pytest.fixture
async def warm(rig: Rig) -> Rig:
    """A rig whose keys are there, and whose next fetch is allowed."""
    assert await rig.keys.refresh()
    rig.sleep(INTERVAL)
    return rig


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(10):
        await asyncio.sleep(0)


# --- known keys ----------------------------------------------------------------------------------


async def test_the_first_token_fetches_the_keys_and_the_next_do_not(rig: Rig):
    table = await rig.verify()
    for _ in range(50):
        assert await rig.verify() is table
    assert rig.fetches == 1


async def test_a_bad_signature_of_a_known_key_fetches_nothing(warm: Rig):
    with refused(ErrorCode.TOKEN_INVALID, "signature"):
        await warm.verify(signer=Signer(kid=warm.issuer.signer.kid, number=9))
    assert warm.fetches == 1


async def test_keys_are_refreshed_in_the_background(warm: Rig):
    warm.sleep(REFRESH)
    warm.gate.clear()
    await warm.verify()  # does not wait
    await settle()
    assert warm.fetches == 2
    warm.gate.set()
    await settle()
    await warm.verify()
    assert warm.fetches == 2


async def test_an_unchanged_set_stays_the_same_object(warm: Rig):
    old = warm.table()
    await warm.keys.refresh()
    assert warm.fetches == 2
    assert warm.table() is old
    warm.issuer.rotate()
    warm.sleep(INTERVAL)
    await warm.keys.refresh()
    assert warm.table() is not old


async def test_a_withdrawn_key_stops_verifying_when_the_set_was_fetched(warm: Rig):
    old = warm.issuer.signer
    warm.issuer.rotate(drop=True)
    await warm.verify(signer=old)
    warm.sleep(REFRESH)
    await warm.keys.refresh()
    with refused(ErrorCode.TOKEN_INVALID):
        await warm.verify(signer=old, age=3600)


# --- an issuer that is down ----------------------------------------------------------------------


async def test_known_keys_survive_an_outage_until_they_are_stale(warm: Rig):
    await warm.down()
    warm.sleep(STALE - INTERVAL - 1)
    await warm.verify()
    await settle()
    assert warm.keys.health().problem == "the key set was answered with status 500"
    warm.sleep(1)
    with refused(ErrorCode.ISSUER_UNAVAILABLE):
        await warm.verify()
    assert warm.keys.current() is None
    assert warm.keys.health().keys == 0


async def test_without_keys_tokens_are_not_refused_as_invalid(rig: Rig):
    await rig.down()
    with refused(ErrorCode.ISSUER_UNAVAILABLE) as info:
        await rig.verify()
    assert info.value.retry_after == INTERVAL
    assert "status 500" in (info.value.log or "")
    assert "500" not in info.value.detail


async def test_a_failing_issuer_is_asked_once_per_interval(rig: Rig):
    await rig.down()
    for _ in range(200):
        with refused(ErrorCode.ISSUER_UNAVAILABLE):
            await rig.verify()
    assert rig.fetches == 1
    rig.sleep(INTERVAL - 0.5)
    with refused(ErrorCode.ISSUER_UNAVAILABLE) as info:
        await rig.verify()
    assert info.value.retry_after == 1
    rig.sleep(0.5)
    rig.problem = None
    await rig.verify()
    assert rig.began == [0, INTERVAL]


@pytest.mark.parametrize("document", [None, {}, {"keys": []}, {"keys": [{"kty": "oct", "k": "AAAA"}]}])
async def test_an_unusable_set_does_not_replace_a_good_one(warm: Rig, document: object):
    async def unusable() -> object:
        return document

    warm.keys._fetch = unusable
    await warm.keys.refresh()
    await warm.verify()
    assert "JWK set" in (warm.keys.health().problem or "")


# --- unknown keys --------------------------------------------------------------------------------


async def test_a_new_key_is_fetched_at_once(warm: Rig):
    warm.issuer.rotate()
    await warm.verify()
    assert warm.fetches == 2


async def test_a_key_that_a_new_set_lacks_is_invalid(warm: Rig):
    with refused(ErrorCode.TOKEN_INVALID, "no such key"):
        await warm.verify(signer=Signer(number=9))
    assert warm.fetches == 2


async def test_a_failed_fetch_does_not_make_a_key_invalid(warm: Rig):
    await warm.down()
    with refused(ErrorCode.ISSUER_UNAVAILABLE):
        await warm.verify(signer=Signer(number=9), age=10_000)


async def test_before_the_next_fetch_a_young_token_waits_and_an_old_one_is_invalid(warm: Rig):
    with refused(ErrorCode.TOKEN_INVALID):
        await warm.verify(signer=Signer(number=9))
    warm.sleep(3)
    # The last good fetch began 3 seconds ago, the leeway is 10.
    for age in (0, 3, 13):
        with refused(ErrorCode.ISSUER_UNAVAILABLE) as info:
            await warm.verify(signer=Signer(number=9), age=age)
        assert info.value.retry_after == 7
    with refused(ErrorCode.TOKEN_INVALID, "after it was issued"):
        await warm.verify(signer=Signer(number=9), age=14)
    assert warm.fetches == 2


@pytest.mark.parametrize(("age", "latecomers"), [(0, ErrorCode.ISSUER_UNAVAILABLE), (60, ErrorCode.TOKEN_INVALID)])
async def test_many_unknown_keys_share_one_fetch(warm: Rig, age: int, latecomers: ErrorCode):
    """Those that came when it had begun learn from it only if they are older than it."""
    warm.gate.clear()
    strangers = [asyncio.create_task(warm.verify(signer=Signer(number=9), age=age)) for _ in range(200)]
    await settle()
    assert warm.fetches == 2
    warm.gate.set()
    first, *others = await asyncio.gather(*strangers, return_exceptions=True)
    assert isinstance(first, Refusal)
    assert first.code is ErrorCode.TOKEN_INVALID
    assert {getattr(error, "code", None) for error in others} == {latecomers}
    assert warm.fetches == 2


async def test_known_keys_do_not_wait_behind_unknown_ones(warm: Rig):
    warm.gate.clear()
    stranger = asyncio.create_task(warm.verify(signer=Signer(number=9)))
    await settle()
    async with asyncio.timeout(60):
        await warm.verify()
    warm.gate.set()
    with refused(ErrorCode.TOKEN_INVALID):
        await stranger


async def test_a_fetch_in_flight_cannot_prove_that_a_key_does_not_exist(warm: Rig):
    warm.gate.clear()
    first = asyncio.create_task(warm.verify(signer=Signer(number=9)))
    await settle()
    warm.issuer.rotate()  # too late for the fetch under way
    second = asyncio.create_task(warm.verify())
    await settle()
    warm.gate.set()
    with refused(ErrorCode.TOKEN_INVALID):
        await first
    with refused(ErrorCode.ISSUER_UNAVAILABLE):
        await second
    warm.sleep(INTERVAL)
    await warm.verify()


async def test_a_fetch_in_flight_brings_the_key(rig: Rig):
    rig.gate.clear()
    tasks = [asyncio.create_task(rig.verify()) for _ in range(2)]
    await settle()
    late = asyncio.create_task(rig.verify())
    await settle()
    rig.gate.set()
    assert len(set(await asyncio.gather(*tasks, late))) == 1
    assert rig.fetches == 1


async def test_after_a_slow_fetch_another_may_begin(warm: Rig):
    warm.gate.clear()
    first = asyncio.create_task(warm.verify(signer=Signer(number=9)))
    await settle()
    warm.issuer.rotate()
    second = asyncio.create_task(warm.verify())
    await settle()
    warm.sleep(INTERVAL)
    warm.gate.set()
    with refused(ErrorCode.TOKEN_INVALID):
        await first
    assert await second is warm.table()
    assert warm.fetches == 3


async def test_a_disconnecting_client_does_not_cancel_the_fetch(warm: Rig):
    warm.issuer.rotate()
    warm.gate.clear()
    leaver, stayer = asyncio.create_task(warm.verify()), asyncio.create_task(warm.verify())
    await settle()
    leaver.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaver
    warm.gate.set()
    assert await stayer is warm.table()
    assert warm.fetches == 2


async def test_a_token_without_kid_waits_for_new_keys(warm: Rig):
    await warm.verify(kid=False)
    assert warm.fetches == 1
    warm.issuer.rotate()
    await warm.verify(kid=False)
    assert warm.fetches == 2


# --- the rest ------------------------------------------------------------------------------------


async def test_health_has_keys_age_and_problem(rig: Rig):
    health = rig.keys.health()
    assert (health.keys, health.age, health.problem) == (0, None, None)
    assert rig.fetches == 0
    rig.issuer.rotate()
    await rig.keys.refresh()
    rig.sleep(5)
    health = rig.keys.health()
    assert (health.keys, health.age, health.problem) == (2, 5, None)


async def test_closing_ends_the_fetch_and_its_waiters(rig: Rig):
    rig.gate.clear()
    waiting = asyncio.create_task(rig.verify())
    await settle()
    await rig.keys.close()
    with refused(ErrorCode.ISSUER_UNAVAILABLE):
        await waiting


async def test_an_internal_error_is_not_hidden(rig: Rig):
    rig.problem = RuntimeError("bug")
    with pytest.raises(RuntimeError, match="bug"):
        await rig.verify()
    rig.problem = None
    rig.sleep(INTERVAL)
    await rig.verify()
