"""The user that docs/store.md describes can do all that sidecars and commands do, and nothing besides."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sidecar.cli import main
from sidecar.runtime.sweeper import sweep
from sidecar.store.commands.keys import account_keys
from sidecar.store.health.permissions import KEYED, OTHERS
from sidecar.store.script_loading import FUNCTIONS
from tests.proxy.support import Launch, contacts
from tests.support import debian
from tests.support.backend import Backend
from tests.support.rig import LEGACY, Rig
from tests.support.store import StoreServer, until

PAGE = Path(__file__).parents[2] / "docs" / "store.md"
PASSWORD = "p@ss/w%rd"
_WITH_SUBCOMMANDS = ("SCRIPT", "FUNCTION")
COMMANDS = (
    ("account", "list"),
    ("account", "show", "ada"),
    ("account", "set", "ada", "--quota", "requests.day=50000"),
    ("account", "set", "bob", "--plan", "growth", "--create"),
    ("account", "delete", "bob"),
    ("consent", "list", "ada"),
    ("consent", "grant", "ada", "cli-2", "--scopes", "stores:read"),
    ("consent", "revoke", "ada", "cli-2"),
    ("consent", "list", "--client", "cli-2"),
    ("consent", "revoke", "--client", "cli-2", "--all-accounts"),
    ("consent", "revoke", "bob", "--all"),
    ("consent", "grant", "bob", "--all"),
    ("credits", "show", "ada"),
    ("credits", "grant", "ada", "contact", "5"),
    ("credits", "spend", "ada", "contact", "1"),
    ("credits", "set", "ada", "contact", "7"),
    ("usage", "ada"),
    ("usage", "ada", "--verify"),
    ("check",),
)


def documented() -> list[str]:
    """The words of the page's ACL SETUSER."""
    [block] = re.findall(r"^```text\n(ACL SETUSER sidecar .*?)^```$", PAGE.read_text("utf-8"), re.M | re.S)
    return [f">{PASSWORD}" if word == ">PASSWORD" else word for word in block.split()]


def granted(words: list[str]) -> set[str]:
    return {word[1:] for word in words if word.startswith("+")}


@pytest.fixture(params=["valkey", "redis 7.0"])
def server(request: pytest.FixtureRequest) -> Iterator[StoreServer]:
    """A durable server, of the newest and of the oldest kind."""
    binary = None if request.param == "valkey" else debian.redis_server()
    durable = StoreServer(durable=True, binary=binary).start()
    yield durable
    durable.close()


@pytest.fixture
async def limited(server: StoreServer, bare: Launch) -> Rig:
    """A sidecar whose store's user is the documented one."""
    with server.client() as client:
        client.execute_command(*documented())
        client.execute_command("CONFIG", "RESETSTAT")
    url = f"unix://sidecar:p%40ss%2Fw%25rd@{server.path}"
    return await bare(server=server, store_url=url, scripted=Backend(sessions=True))


async def command(rig: Rig, *words: str) -> int:
    """Run one in a thread: it brings an event loop of its own."""
    return await asyncio.to_thread(main, [*words, "--config", str(rig.config)])


async def live(rig: Rig) -> None:
    """All that sidecars ask a store for."""
    await rig.account(credits=10)
    await rig.grant()
    assert (await rig.call("reveal_contacts", contacts("a"))).status == 200
    session = await rig.session()
    for _ in range(2):
        assert (await rig.call("list_taxonomy", revision=LEGACY, headers={"Mcp-Session-Id": session})).status == 200
    await rig.delete(session=session)
    await rig.recorded(5)
    await until(lambda: rig.sidecar.request_path.revocations.subscription_up)
    async with rig.stream(session=await rig.session()) as stream:
        await rig.sidecar.request_path.revocations.check()
        await rig.revoke()  # published, and heard
        while await stream.event() is not None:
            pass
    await rig.grant()
    await sweep(rig.sidecar.store, rig.sidecar.metrics)


async def fold(rig: Rig) -> None:
    """A journal that is as long as it may be, and one call more."""
    usage = account_keys("main", "ada").usage
    with rig.redis() as client, client.pipeline(transaction=False) as pipeline:
        for _ in range(10_000):
            pipeline.xadd(usage, {"n": "0", "event": "settled"})
        pipeline.execute()
    assert (await rig.call("list_taxonomy")).status == 200


async def follow(rig: Rig) -> None:
    """`usage --follow` runs until it is interrupted."""
    words = ("-m", "sidecar", "usage", "ada", "--follow", "--last", "1", "--config", str(rig.config))
    process = await asyncio.create_subprocess_exec(sys.executable, *words, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(50):
            assert await process.stdout.readline()
            await rig.grant()
            assert await process.stdout.readline()
            os.kill(process.pid, signal.SIGINT)
            assert await process.wait() == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def test_it_is_enough_for_everything_and_nothing_is_to_spare(
    limited: Rig, server: StoreServer, capsys: pytest.CaptureFixture[str]
):
    await live(limited)
    for words in COMMANDS:
        assert await command(limited, *words) == 0, (words, capsys.readouterr().err)
    await follow(limited)
    await fold(limited)
    with server.client() as client:
        assert client.execute_command("ACL", "LOG") == []
        used: dict[str, Any] = client.info("commandstats")
    called = {name.removeprefix("cmdstat_") for name, stats in used.items() if stats["calls"]}
    assert granted(documented()) - called == set()
    written = limited.lines.read_text() + limited.config.read_text()
    assert PASSWORD not in written


def test_what_is_asked_about_is_what_is_documented():
    asked = {
        "|".join(words[:2] if words[0] in _WITH_SUBCOMMANDS else words[:1]).lower()
        for words in (*KEYED, *OTHERS, *FUNCTIONS)
    }
    assert granted(documented()) == asked


async def test_a_permission_taken_away_is_reported_and_given_back_is_used(limited: Rig, server: StoreServer):
    await limited.account(credits=10)
    await limited.grant()
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "sidecar", "-evalsha", "-fcall", "-zadd")
        reply = await limited.call("list_taxonomy")
        assert (reply.status, reply.code) == (503, "store_unavailable")
        await until(lambda: "evalsha" in (limited.sidecar.store.error or ""))
        status, body = await limited.ready()
        assert status == 503
        assert "docs/store.md" in body["checks"]["store"]
        client.execute_command("ACL", "SETUSER", "sidecar", "+evalsha")
        await until(lambda: "lacks permissions: +zadd;" in (limited.sidecar.store.error or ""))
        client.execute_command("ACL", "SETUSER", "sidecar", "+zadd")
    await until(lambda: limited.sidecar.store.up)
    assert (await limited.call("reveal_contacts", contacts("a"))).status == 200
    assert (await limited.books()).balance == {"contact": 9}
    assert "w%rd" not in limited.lines.read_text()
