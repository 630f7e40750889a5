"""Names: looked up once at a time, remembered, and served stale while name servers are silent."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator

import pytest

from sidecar.system.resolver import FRESH, LOOKUPS, PATIENCE, STALE, AddressInfo, Resolver


def info(host: str, port: int = 80) -> AddressInfo:
    return (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))


class Service:
    """A name service that may stall; a real one does so in a thread, too.

    Attributes:
        asked: names, in the order they were asked for.
    """

    def __init__(self) -> None:
        self.now = 100.0
        self.answer: list[AddressInfo] | Exception = [info("192.0.2.1"), info("192.0.2.2"), info("192.0.2.3")]
        self.answers = threading.Event()
        self.answers.set()
        self.asked: list[str] = []
        self.resolver = Resolver(self._look_up, clock=lambda: self.now)

    def _look_up(self, host: str, port: int) -> list[AddressInfo]:
        self.asked.append(host)
        assert self.answers.wait(30)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def first(self, host: str = "a.test") -> str:
        return str((await self.resolver.addresses(host, 80))[0][4][0])


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service()
    yield made
    made.answers.set()


async def test_concurrent_callers_share_one_look_up(service: Service):
    await asyncio.gather(*(service.first() for _ in range(50)))
    assert service.asked == ["a.test"]


async def test_its_addresses_take_turns(service: Service):
    assert {await service.first() for _ in range(3)} == {"192.0.2.1", "192.0.2.2", "192.0.2.3"}


async def test_an_answer_is_fresh_for_seconds(service: Service):
    await service.first()
    service.now += FRESH - 0.1
    await service.first()
    assert len(service.asked) == 1
    service.now += 0.2
    service.answer = [info("192.0.2.9")]
    assert await service.first() == "192.0.2.9"


async def test_a_stalled_name_server_leaves_the_old_answer(service: Service):
    await service.first()
    service.now += FRESH + 1
    service.answers.clear()
    assert (await service.first()).startswith("192.0.2.")
    service.now += PATIENCE
    for _ in range(20):  # no other caller waits for it
        async with asyncio.timeout(PATIENCE):
            assert (await service.first()).startswith("192.0.2.")
    assert len(service.asked) == 2, "one look-up is under way, and no more"


async def test_a_name_server_that_fails_leaves_the_old_answer_for_an_hour(service: Service):
    await service.first()
    service.answer = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    service.now += STALE - 1
    assert (await service.first()).startswith("192.0.2.")
    service.now += 2
    with pytest.raises(OSError, match="Temporary failure"):
        await service.first()


async def test_a_removed_name_fails_at_once(service: Service):
    await service.first()
    service.answer = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    service.now += FRESH + 1
    with pytest.raises(OSError, match="not known"):
        await service.first()


async def test_a_name_that_cannot_be_one_is_an_error_like_another(service: Service):
    service.answer = UnicodeError("label too long")
    with pytest.raises(OSError, match="not a name"):
        await service.first()


async def test_a_cancelled_caller_leaves_the_look_up_to_the_next(service: Service):
    service.answers.clear()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await service.first()
    service.answers.set()
    assert (await service.first()).startswith("192.0.2.")
    assert len(service.asked) == 1


async def test_stalled_names_take_a_bounded_number_of_threads(service: Service):
    service.answers.clear()
    before = threading.active_count()
    asking = [asyncio.create_task(service.first(f"n{number}.test")) for number in range(100)]
    async with asyncio.timeout(60):
        while len(service.asked) < LOOKUPS:  # noqa: ASYNC110 - it is threads that ask
            await asyncio.sleep(0.001)
    await asyncio.sleep(0)
    assert threading.active_count() - before <= LOOKUPS
    service.answers.set()
    await asyncio.gather(*asking)
    assert len(service.asked) == 100


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_literals_are_not_looked_up(service: Service, host: str):
    assert await service.first(host) == host
    assert service.asked == []


async def test_aiohttp_gets_the_same_addresses(service: Service):
    found = await service.resolver.resolve("a.test", 443)
    assert {(each["hostname"], each["port"]) for each in found} == {("a.test", 443)}
    assert {each["host"] for each in found} == {"192.0.2.1", "192.0.2.2", "192.0.2.3"}
