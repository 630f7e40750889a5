"""Settlement rows for a sidecar that is killed at every point of a call: the expired lease decides."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from sidecar.ledger.settlement_table import SettlementRow
from sidecar.model import OnUnknown
from tests.settlement.orphans import begun, calling, decided, succeeded_by_another
from tests.settlement.script import ARGUMENTS, DATA, answered, rows
from tests.settlement.stage import Play, staged
from tests.settlement.unreachable import never
from tests.support import backend as scripted
from tests.support.backend import tool_result
from tests.support.processes import Floodgate, succeeded, wait_for
from tests.support.rig import MODERN
from tests.support.store import FaultProxy, StoreServer

pytestmark = [pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="module")]


@rows("killed_unadmitted")
async def test_killed_before_it_has_read_the_admission(tmp_path: Path, server: StoreServer, ending: SettlementRow):
    async with (
        FaultProxy(server.path) as proxy,
        staged(tmp_path, server, store_url=proxy.url) as stage,
        stage.plays(ending) as plays,
    ):
        proxy.drop_replies = True
        async with calling(plays):
            for play in plays:
                await play.held()
            await stage.sidecar.kill()
        proxy.drop_replies = False
        await succeeded_by_another(stage, plays)
        await decided(plays)
        assert not stage.asked


@rows("killed_unsent")
async def test_killed_before_the_backend_received_the_call(tmp_path: Path, server: StoreServer, ending: SettlementRow):
    async with (
        Floodgate() as gate,
        staged(tmp_path, server, backend_url=gate.url) as stage,
        stage.plays(ending) as plays,
    ):
        gate.shut = True
        async with calling(plays):
            for play in plays:
                await play.held()
            await wait_for(lambda: gate.held.count(b"tools/call") >= 2)
            await stage.sidecar.kill()
        gate.shut = False
        await succeeded_by_another(stage, plays)
        await decided(plays)
        assert not stage.asked


@rows("killed_unsent")
async def test_killed_before_the_backend_was_connected(tmp_path: Path, server: StoreServer, ending: SettlementRow):
    settings = {"connect_timeout": "60s"}
    async with (
        never() as url,
        staged(tmp_path, server, ready=False, backend_url=url, backend_settings=settings) as stage,
        stage.plays(ending) as plays,
    ):
        async with calling(plays):
            for play in plays:
                await play.held()
            await stage.sidecar.kill()
        await succeeded_by_another(stage, plays, ready=False)
        await decided(plays)


@rows("killed_sent")
async def test_killed_while_the_backend_works(tmp_path: Path, server: StoreServer, ending: SettlementRow):
    async with staged(tmp_path, server) as stage, stage.plays(ending) as plays:
        for play in plays:
            play.behaves(scripted.silent())
        async with calling(plays):
            for play in plays:
                await play.reached()
            await stage.sidecar.kill()
        await succeeded_by_another(stage, plays)
        await decided(plays)


@rows("killed_unsettled")
async def test_killed_after_the_result_before_the_settle_arrived(
    tmp_path: Path, server: StoreServer, ending: SettlementRow
):
    work = asyncio.Event()
    async with (
        FaultProxy(server.path) as proxy,
        staged(tmp_path, server, store_url=proxy.url) as stage,
        stage.plays(ending) as plays,
    ):
        for play in plays:
            play.behaves(scripted.after(work, answered))
        async with calling(plays) as calls:
            for play in plays:
                await play.reached()
            proxy.drop_requests = True
            work.set()
            assert [succeeded(reply) for reply in await asyncio.gather(*calls)] == [True, True]  # no client waits
            await stage.sidecar.kill()
        proxy.drop_requests = False
        await succeeded_by_another(stage, plays)
        await decided(plays)


@asynccontextmanager
async def not_reading(play: Play) -> AsyncIterator[socket.socket]:
    """A client that makes the call, and does not read."""
    message, headers = play.request("tools/call", {"name": play.tool, "arguments": ARGUMENTS}, MODERN, None)
    body, address = json.dumps(message).encode(), urlsplit(play.sidecar.url)
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect((address.hostname, address.port))
        first = f"POST {address.path} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: {len(body)}\r\n"
        client.sendall(f"{first}{head}\r\n".encode() + body)
        client.setblocking(False)
        yield client


async def read_to_end(client: socket.socket) -> bytes:
    """All that a client still gets."""
    loop, parts = asyncio.get_running_loop(), []
    try:
        while data := await loop.sock_recv(client, 65536):
            parts.append(data)
    except ConnectionError:
        pass
    return b"".join(parts)


@rows("killed_settled")
async def test_killed_after_the_settle_before_the_result_was_relayed(
    tmp_path: Path, server: StoreServer, ending: SettlementRow
):
    large = scripted.result({"resultType": "complete", **tool_result({**DATA, "padding": "x" * 16_000_000})})
    async with (
        staged(tmp_path, server, limits={"response": "64MiB"}) as stage,
        stage.plays(ending) as plays,
        not_reading(plays[0]) as one,
        not_reading(plays[1]) as other,
    ):
        for play in plays:
            play.behaves(large)
        for play in plays:
            await play.resolved()
        await stage.sidecar.kill()
        for client in (one, other):
            assert len(await read_to_end(client)) < 16_000_000
        for play in plays:
            await play.resolved()


async def resumed(play: Play, session: str, id_: int, delivered: bool) -> None:
    """Come back for the result of the request, which the backend has; it comes unless it was given back."""
    response = {"jsonrpc": "2.0", "id": id_, "result": tool_result(DATA)}
    sent = {**response, "id": play.stage.asked[play.ledger.account]}
    play.behaves(scripted.sse(sent, response=False))
    [event] = (await play.resume(session, "1")).events
    if delivered:
        assert event == response
    else:
        assert (event["id"], event["error"]["data"]["code"]) == (id_, "backend_timeout")


@rows(("killed_resumed", "before", True), ("killed_resumed_late", "after", False))
async def test_killed_and_resumed_in_another_sidecar(
    tmp_path: Path, server: StoreServer, ending: SettlementRow, way: bool
):
    async with staged(tmp_path, server) as stage, stage.plays(ending) as plays:
        begins = [await begun(play) for play in plays]
        asked = [play.id for play in plays]
        await stage.sidecar.kill()
        await succeeded_by_another(stage, plays)
        await asyncio.gather(*(call for _, call in begins), return_exceptions=True)
        if not way:
            await decided(plays)
        for play, (session, _), id_ in zip(plays, begins, asked, strict=True):
            await resumed(play, session, id_, delivered=way or play.on_unknown is OnUnknown.SETTLE)
        if way:
            await decided(plays)
        for play in plays:
            await play.resolved()
