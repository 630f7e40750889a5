"""Every way a store refuses or does not answer: the call is refused, nothing is lost, nothing runs twice.

One call is at the backend when the server begins to refuse, and its settle meets the refusal; another one
comes meanwhile and is not let through. Then the server recovers, without a restart of the sidecar.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import redis

from sidecar.store.commands.keys import account_keys
from tests.proxy.support import POLICY, contacts
from tests.support.backend import Backend, after, default
from tests.support.rig import Reply, Rig, rig
from tests.support.store import FaultProxy, StoreServer, free_port, until

KEYS = account_keys("main", "ada")
USER, PASSWORD = "sidecar", "hunter2"
OPTIONS = (
    *("--enable-debug-command", "yes", "--loading-process-events-interval-bytes", "1024"),
    *("--user", USER, "on", f">{PASSWORD}", "~*", "&*", "+@all"),
)


@dataclass(frozen=True)
class Place:
    """A durable server, and what stands between it and the sidecar."""

    server: StoreServer
    proxy: FaultProxy

    def ask(self, *words: object) -> Any:
        """One command of the operator, on a connection of its own."""
        with self.server.client() as client:
            return client.execute_command(*words)

    def info(self, name: str) -> Any:
        with self.server.client() as client:
            return client.info("all")[name]


Fault = Callable[[Place], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def meanwhile(
    place: Place, *words: object, end: tuple[str, ...], begun: Callable[[], bool]
) -> AsyncIterator[None]:
    """A command that keeps the server busy until another one ends it."""
    running = asyncio.create_task(asyncio.to_thread(place.ask, *words))
    await until(begun)
    try:
        yield
    finally:
        place.ask(*end)
        with contextlib.suppress(redis.ResponseError):  # that it was killed
            await running


def answers(place: Place, code: str) -> bool:
    """Return if the server now refuses all clients with this code; a library would retry."""
    with socket.socket(socket.AF_UNIX) as plain:
        plain.settimeout(5)
        try:
            plain.connect(str(place.server.path))
            plain.sendall(b"GET x\r\n")
            return plain.recv(4096).startswith(f"-{code} ".encode())
        except OSError:
            return False


# --- the table -----------------------------------------------------------------------------------


@asynccontextmanager
async def readonly(place: Place) -> AsyncIterator[None]:
    place.ask("REPLICAOF", "127.0.0.1", free_port())
    yield
    place.ask("REPLICAOF", "NO", "ONE")


@asynccontextmanager
async def no_memory(place: Place) -> AsyncIterator[None]:
    place.ask("CONFIG", "SET", "maxmemory", "1")
    yield
    place.ask("CONFIG", "SET", "maxmemory", "0")


@asynccontextmanager
async def no_replicas(place: Place) -> AsyncIterator[None]:
    place.ask("CONFIG", "SET", "min-replicas-to-write", "1")
    yield
    place.ask("CONFIG", "SET", "min-replicas-to-write", "0")


@asynccontextmanager
async def no_snapshot(place: Place) -> AsyncIterator[None]:
    """A snapshot that cannot be put in its place, on a server that is configured to stop writing then."""
    obstacle = place.server.directory / "dump.rdb"
    obstacle.mkdir()
    place.ask("CONFIG", "SET", "save", "3600 1")
    place.ask("BGSAVE")
    await until(lambda: place.info("rdb_last_bgsave_status") == "err")
    yield
    obstacle.rmdir()
    place.ask("BGSAVE")
    await until(lambda: place.info("rdb_last_bgsave_status") == "ok")


@asynccontextmanager
async def busy(place: Place) -> AsyncIterator[None]:
    place.ask("CONFIG", "SET", "busy-reply-threshold", "20")
    endless = ("EVAL", "while true do end", 0)
    async with meanwhile(place, *endless, end=("SCRIPT", "KILL"), begun=lambda: answers(place, "BUSY")):
        yield


@asynccontextmanager
async def loading(place: Place) -> AsyncIterator[None]:
    """Restarted, with much to read, and slowly."""
    place.ask("DEBUG", "POPULATE", 5000)
    place.ask("BGREWRITEAOF")
    await until(lambda: not place.info("aof_rewrite_in_progress") and not place.info("aof_rewrite_scheduled"))
    place.server.kill()
    place.server.options += ("--key-load-delay", "2000")
    starting = asyncio.create_task(asyncio.to_thread(place.server.start))
    await until(lambda: answers(place, "LOADING"))
    yield
    place.ask("CONFIG", "SET", "key-load-delay", "0")
    await starting


@asynccontextmanager
async def no_permission(place: Place) -> AsyncIterator[None]:
    place.ask("ACL", "SETUSER", USER, "-evalsha", "-fcall")
    yield
    place.ask("ACL", "SETUSER", USER, "+evalsha", "+fcall")


@asynccontextmanager
async def another_password(place: Place) -> AsyncIterator[None]:
    place.ask("ACL", "SETUSER", USER, "resetpass", ">another")
    place.ask("CLIENT", "KILL", "USER", USER)
    yield
    place.ask("ACL", "SETUSER", USER, "resetpass", f">{PASSWORD}")


@asynccontextmanager
async def a_user_less(place: Place) -> AsyncIterator[None]:
    """Deleting a user ends its connections."""
    place.ask("ACL", "DELUSER", USER)
    yield
    place.ask("ACL", "SETUSER", USER, "on", f">{PASSWORD}", "~*", "&*", "+@all")


@asynccontextmanager
async def no_answers(place: Place) -> AsyncIterator[None]:
    place.proxy.drop_replies = True
    yield
    place.proxy.drop_replies = False


@asynccontextmanager
async def no_requests(place: Place) -> AsyncIterator[None]:
    place.proxy.drop_requests = True
    yield
    place.proxy.drop_requests = False


@asynccontextmanager
async def no_listener(place: Place) -> AsyncIterator[None]:
    await place.proxy.refuse()
    yield
    await place.proxy.listen()


@asynccontextmanager
async def stopped(place: Place) -> AsyncIterator[None]:
    place.server.pause()
    yield
    place.server.resume()


# The note in the log for the refused call: the server's code, or the reply that is missing.
FAULTS: Final[dict[str, tuple[Fault, str]]] = {
    "READONLY": (readonly, "READONLY"),
    "OOM": (no_memory, "OOM"),
    "NOREPLICAS": (no_replicas, "NOREPLICAS"),
    "MISCONF": (no_snapshot, "MISCONF"),
    "BUSY": (busy, "BUSY"),
    "LOADING": (loading, "the store cannot be reached"),
    "NOPERM": (no_permission, "NOPERM"),
    "WRONGPASS": (another_password, "WRONGPASS"),
    "a deleted user": (a_user_less, "WRONGPASS"),
    "no answers": (no_answers, "the store did not answer in time"),
    "no requests": (no_requests, "the store did not answer in time"),
    "no listener": (no_listener, "the store cannot be reached"),
    "stopped": (stopped, "the store did not answer in time"),
}
AT_ONCE: Final = {"OOM"}
"""Faults that settles and revocations do not meet."""
MAY_HAVE_RUN: Final = {"no answers", "no requests", "stopped"}
"""Faults after which an admission may have been made, so that it is taken back."""


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    server = StoreServer(durable=True, options=OPTIONS).start()
    try:
        async with FaultProxy(server.path) as proxy:
            yield Place(server, proxy)
    finally:
        server.close()


@asynccontextmanager
async def working(tmp_path: Path, place: Place, backend: Backend) -> AsyncIterator[Rig]:
    url = f"unix://{USER}:{PASSWORD}@{place.proxy.path}"
    async with rig(tmp_path, place.server, policy=POLICY, store_url=url, scripted=backend) as built:
        await built.account(credits=10)
        await built.grant()
        yield built


def entries(place: Place) -> Counter[tuple[str, str]]:
    """Count the journal's events of each call."""
    with place.server.client() as client:
        listed: Any = client.xrange(KEYS.usage)
    calls = [(fields["call"], fields["event"]) for _, fields in listed if fields["event"] in ("settled", "released")]
    return Counter(calls)


async def recovered(built: Rig) -> None:
    await until(lambda: built.sidecar.store.up and built.sidecar.store.outbox.undelivered == 0, within=60)


@pytest.mark.parametrize("name", FAULTS)
async def test_calls_are_refused_and_nothing_is_lost_or_done_twice(tmp_path: Path, place: Place, name: str):
    fault, note = FAULTS[name]
    work = asyncio.Event()
    backend = Backend()
    backend.once(after(work, default()))
    async with working(tmp_path, place, backend) as built:
        first = asyncio.create_task(built.call("reveal_contacts", contacts("a")))
        await until(lambda: len(backend.received) == 1)
        async with fault(place):
            refused = await built.call("reveal_contacts", contacts("b"))
            assert (refused.status, refused.code) == (503, "store_unavailable")
            assert refused.headers["Retry-After"]
            work.set()
            reply = await first
            assert (reply.status, "error" in reply.json) == (200, False)  # what is paid for is delivered
            if name in AT_ONCE:
                await built.recorded(2)
                assert entries(place) == {(id_of(reply), "settled"): 1}
                await built.revoke("ada", "cli-9")
            assert len(backend.received) == 1  # nothing was forwarded that was not admitted
        await recovered(built)
        last = await built.call("reveal_contacts", contacts("a", "c"))
        assert (last.status, "error" in last.json) == (200, False)
        refusal = next(line for line in await built.recorded(3) if line["request_id"] == id_of(refused))
        assert (refusal["code"], note in " ".join(refusal["notes"])) == ("store_unavailable", True), refusal["notes"]
        assert built.sidecar.store.outbox.abandoned == 0
        books = await built.books()
    assert (books.balance, books.holds) == ({"contact": 8}, 0)
    taken_back = {(id_of(refused), "released"): 1} if name in MAY_HAVE_RUN else {}
    done = {(id_of(reply), "settled"): 1, (id_of(last), "settled"): 1}
    assert entries(place) - Counter(taken_back) == done
    assert PASSWORD not in built.lines.read_text()


async def test_calls_succeed_while_scripts_and_functions_are_flushed_all_the_time(tmp_path: Path, place: Place):
    async with working(tmp_path, place, Backend()) as built:
        over = asyncio.Event()

        async def flush() -> None:
            while not over.is_set():
                await asyncio.to_thread(place.ask, "SCRIPT", "FLUSH")
                await asyncio.to_thread(place.ask, "FUNCTION", "FLUSH")

        flushing = asyncio.create_task(flush())
        try:
            replies = [await built.call("reveal_contacts", contacts(str(n))) for n in range(8)]
        finally:
            over.set()
            await flushing
        await recovered(built)
        books = await built.books()
    assert [reply.status for reply in replies] == [200] * 8
    assert (books.balance, books.holds) == ({"contact": 2}, 0)
    assert entries(place) == {(id_of(reply), "settled"): 1 for reply in replies}


async def test_a_truncated_reply_refuses_one_call_and_releases_it(tmp_path: Path, place: Place):
    async with working(tmp_path, place, Backend()) as built:
        place.proxy.cut_on_reply = True
        refused = await built.call("reveal_contacts", contacts("a"))
        assert (refused.status, refused.code) == (503, "store_unavailable")
        await recovered(built)
        assert built.backend.received == []
        assert (await built.call("reveal_contacts", contacts("a"))).status == 200
        await recovered(built)
        books = await built.books()
    assert (books.balance, books.holds) == ({"contact": 9}, 0)
    assert entries(place)[id_of(refused), "released"] == 1


async def test_pending_settles_are_not_retried_in_a_tight_loop_on_a_refusing_server(tmp_path: Path, place: Place):
    """Many settles meet a server that takes no writes: each is tried again, and more and more rarely."""
    work = asyncio.Event()
    backend = Backend()
    backend.on("list_taxonomy", after(work, default()))
    async with working(tmp_path, place, backend) as built:
        calls = [asyncio.create_task(built.call("list_taxonomy")) for _ in range(50)]
        await until(lambda: len(backend.received) == 50)
        async with no_replicas(place):
            place.ask("CONFIG", "RESETSTAT")
            work.set()
            await asyncio.gather(*calls)
            await until(lambda: place.info("cmdstat_fcall")["rejected_calls"] >= 200)
            assert built.sidecar.store.outbox.undelivered == 50
            assert built.sidecar.store.outbox._pause > 1
        await recovered(built)
        assert sum(count for (_, event), count in entries(place).items() if event == "settled") == 50


def id_of(reply: Reply) -> str:
    """The id of a call in the log and of its hold in the store."""
    return reply.headers["X-Request-Id"]
