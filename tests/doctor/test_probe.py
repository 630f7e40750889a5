"""The doctor's requests against servers that never end, send too much, or cannot prove who they are."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from sidecar.cli import main
from sidecar.doctor.probe import Probe
from sidecar.identity.jwt.discovery import MAX_DOCUMENT
from tests.support.certificates import Pair

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
FIRST = b'data: {"jsonrpc":"2.0","id":1,"result":{}}\n\n'


@asynccontextmanager
async def serving(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    runner = web.ServerRunner(web.Server(handler), handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    try:
        port = runner.addresses[0][1]
        yield f"{'http' if tls is None else 'https'}://127.0.0.1:{port}/mcp"
    finally:
        await runner.cleanup()


def streaming(kind: str, first: bytes, then: bytes, count: int) -> Handler:
    """Answer with bytes, then with others so many times, then never end."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": kind})
        await response.prepare(request)
        await response.write(first)
        for _ in range(count):
            await response.write(then)
        await asyncio.Event().wait()
        return response

    return handle


async def silent(_: web.BaseRequest) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


async def test_a_silent_server_ends_with_the_time_for_all_requests():
    async with serving(silent) as url, Probe(url, within=0.2) as probe:
        first, second = [await probe.send("GET", url) for _ in range(2)]
    assert (first.status, first.problem) == (0, "no answer in 0.2 s")
    assert second.problem == "not asked: the time is over"


async def test_an_endless_body_is_cut():
    async with serving(streaming("application/json", b"[", b" " * 65536, 64)) as url, Probe(url) as probe:
        answer = await probe.send("GET", url)
    assert (answer.status, answer.problem) == (200, f"answered more than {MAX_DOCUMENT} bytes")
    assert not answer.good


async def test_an_answer_in_a_stream_is_read_to_its_first_message():
    async with serving(streaming("text/event-stream", b": hi\n\n" + FIRST, b"", 0)) as url, Probe(url) as probe:
        answer = await probe.send("POST", url, {}, b"{}")
    assert answer.document == {"jsonrpc": "2.0", "id": 1, "result": {}}


async def test_redirects_are_not_followed():
    asked = []

    async def redirect(request: web.BaseRequest) -> web.StreamResponse:
        asked.append(request.path)
        return web.Response(status=302, headers={"Location": "/elsewhere"})

    async with serving(redirect) as url, Probe(url) as probe:
        answer = await probe.send("GET", url)
    assert (answer.status, asked) == (302, ["/mcp"])


@pytest.mark.parametrize("url", ["http://login.example.com/x", "https://ada:pw@login.example.com/x", "ftp://x/y"])
async def test_urls_of_other_kinds_are_not_asked(url: str):
    async with Probe("https://mcp.example.com/mcp") as probe:
        assert (await probe.send("GET", url)).problem == "not asked: no https:// URL"


async def test_a_certificate_of_an_unknown_authority_is_named(pair: Pair, capsys):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)
    async with serving(silent, context) as url:
        assert await asyncio.to_thread(main, ["doctor", url]) == 1
    assert "FAIL  reach" in (printed := capsys.readouterr().out)
    assert "certificate" in printed


async def test_a_token_is_not_sent_in_the_clear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    """Requests for the host pass a proxy here, which sees what the network would see."""
    sent: list[str | None] = []

    async def observe(request: web.BaseRequest) -> web.StreamResponse:
        sent.append(request.headers.get("Authorization"))
        return web.Response(status=401, headers={"WWW-Authenticate": "Bearer"})

    (tmp_path / "token").write_text("0123456789")
    async with serving(observe) as proxy:
        monkeypatch.setenv("http_proxy", proxy.removesuffix("/mcp"))
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        words = ["doctor", "http://mcp.example.com/mcp", "--token-file", str(tmp_path / "token")]
        assert await asyncio.to_thread(main, words) == 1
    assert None in sent
    assert not [each for each in sent if each and "0123456789" in each]
    assert "it is not sent over http://" in capsys.readouterr().out
