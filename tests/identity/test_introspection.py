"""One question to an endpoint over HTTP."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from sidecar.config.settings import Introspection as Settings
from sidecar.identity.discovery import session
from sidecar.identity.introspection import MAX_PAUSE, MAX_RESPONSE, IntrospectionError, Introspector
from tests.support.introspection import CLIENT_SECRET, Introspection


@pytest.fixture
async def endpoint() -> AsyncIterator[Introspection]:
    async with Introspection() as served:
        yield served


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with session() as opened:
        yield opened


@pytest.fixture
def asker(endpoint: Introspection, client: aiohttp.ClientSession) -> Introspector:
    return introspector(client, endpoint)


def introspector(client: aiohttp.ClientSession, endpoint: Introspection, **changes: Any) -> Introspector:
    return Introspector(client, Settings.model_validate({**endpoint.settings, **changes}))


async def failure(asker: Introspector, token: str = "x") -> IntrospectionError:
    with pytest.raises(IntrospectionError) as info:
        await asker.ask(token)
    # What it was raised from may quote what the endpoint sent.
    assert info.value.__context__ is None or info.value.__suppress_context__
    return info.value


async def test_the_answer_is_what_the_issuer_says(endpoint: Introspection, asker: Introspector):
    token = endpoint.mint(subject="bob", extra=[1])
    assert await asker.ask(token) == endpoint.answer(subject="bob", extra=[1])
    assert await asker.ask("another") == {"active": False}


@pytest.mark.parametrize("token", ["a", "aZ09-._~+/==", "x" * 16384])
async def test_the_token_goes_in_the_form_and_nowhere_else(endpoint: Introspection, asker: Introspector, token: str):
    await asker.ask(token)
    assert endpoint.forms == [{"token": token, "token_type_hint": "access_token"}]


@pytest.mark.parametrize("status", [401, 403])
async def test_refused_credentials_are_told_as_such(endpoint: Introspection, asker: Introspector, status: int):
    endpoint.fault = status
    assert "client_id and client_secret" in (await failure(asker)).problem


@pytest.mark.parametrize("change", [{"client_id": "another"}, {"client_secret": "wrong"}, {"client_secret": "s3cr"}])
async def test_wrong_credentials_are_refused(
    endpoint: Introspection, client: aiohttp.ClientSession, change: dict[str, str]
):
    error = await failure(introspector(client, endpoint, **change), endpoint.mint())
    assert "refuses the configured client_id and client_secret (status 401)" in error.problem
    assert CLIENT_SECRET not in repr(error)


@pytest.mark.parametrize("status", [204, 301, 302, 303, 307, 308, 400, 404, 405, 500, 502, 503, 504])
async def test_another_status_is_no_answer(endpoint: Introspection, asker: Introspector, status: int):
    endpoint.fault, endpoint.headers = status, {"Location": endpoint.url}
    error = await failure(asker, endpoint.mint())
    assert str(status) in error.problem
    assert not error.crowded
    assert len(endpoint.asked) == 1  # a redirect is not followed: it would show the token to somebody else


@pytest.mark.parametrize(
    ("text", "seconds"),
    [(None, 1), ("7", 7), ("0", 1), ("9999", MAX_PAUSE), ("9" * 30, 1), ("-5", 1), ("soon", 1), ("²", 1), ("1.5", 1)],
)
async def test_an_endpoint_may_ask_for_fewer_questions(
    endpoint: Introspection, asker: Introspector, text: str | None, seconds: int
):
    endpoint.fault, endpoint.headers = 429, {"Retry-After": text} if text else {}
    error = await failure(asker)
    assert (error.crowded, error.retry_after) == (True, seconds)
    endpoint.fault = 503
    error = await failure(asker)
    assert (error.crowded, error.retry_after) == (False, seconds)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"active": true, "active": true}',
        b'{"active": true, "exp": NaN}',
        b'{"active": true, "x": ' + b"[" * 1000 + b"]" * 1000 + b"}",
        b'{"active": true, "sub": "\xff"}',
        b"<html>",
    ],
)
async def test_what_is_no_strict_json_is_no_answer(endpoint: Introspection, asker: Introspector, body: bytes):
    endpoint.body = body
    assert "strict JSON" in (await failure(asker)).problem


@pytest.mark.parametrize(
    "kind", ["text/html", "text/plain", "application/octet-stream", "application/token-introspection+jwt"]
)
async def test_another_media_type_is_no_answer(endpoint: Introspection, asker: Introspector, kind: str):
    endpoint.content_type = kind
    assert "application/json" in (await failure(asker, endpoint.mint())).problem


async def test_a_compressed_answer_is_none(endpoint: Introspection, asker: Introspector):
    endpoint.headers = {"Content-Encoding": "gzip"}
    assert "compressed" in (await failure(asker, endpoint.mint())).problem


async def test_an_answer_is_of_bounded_size(endpoint: Introspection, asker: Introspector):
    padding = MAX_RESPONSE - len(b'{"active": true, "x": ""}')
    endpoint.body = b'{"active": true, "x": "%s"}' % (b"x" * padding)
    assert (await asker.ask("x"))["active"] is True
    endpoint.body = b'{"active": true, "x": "%s"}' % (b"x" * (padding + 1))
    assert "larger" in (await failure(asker)).problem


async def test_an_endless_answer_is_not_read_to_its_end(client: aiohttp.ClientSession):
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        while True:
            await response.write(b" " * 4096)

    app = web.Application()
    app.router.add_post("/", endless)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    settings = {"url": f"http://127.0.0.1:{site.port}/", "client_id": "a", "client_secret": "b"}
    try:
        assert "larger" in (await failure(Introspector(client, Settings.model_validate(settings)))).problem
    finally:
        await runner.cleanup()


async def test_nobody_there_is_no_answer(endpoint: Introspection, asker: Introspector):
    await endpoint.stop()
    assert "the connection failed" in (await failure(asker)).problem


async def test_a_connection_that_was_closed_meanwhile_is_no_failure(endpoint: Introspection, asker: Introspector):
    token = endpoint.mint()
    endpoint.drop = 1
    assert (await asker.ask(token))["active"] is True
    assert endpoint.questions(token) == 2
    endpoint.drop = 2
    assert "the connection failed" in (await failure(asker, token)).problem
    assert endpoint.questions(token) == 4


async def test_what_is_no_http_is_no_answer(client: aiohttp.ClientSession):
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"SSH-2.0-secret\r\n")
        writer.close()

    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    async with await asyncio.start_server(babble, sock=listener):
        settings = {"url": f"http://127.0.0.1:{port}/", "client_id": "a", "client_secret": "b"}
        error = await failure(Introspector(client, Settings.model_validate(settings)))
    assert "the connection failed" in error.problem
    assert "SSH" not in f"{error!r}{error.problem}"


def test_the_secret_is_not_shown(endpoint: Introspection):
    settings = Settings.model_validate(
        {"url": "https://a.example/", "client_id": "side", "client_secret": CLIENT_SECRET}
    )
    assert CLIENT_SECRET not in f"{settings!r}{settings}{[settings]}"
