"""One question to an endpoint over HTTP."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from pytest_aiohttp import AiohttpRawServer, AiohttpServer

from sidecar.config.settings.settings import Introspection as Settings
from sidecar.identity.egress.issuer_client import IssuerClient
from sidecar.identity.jwt.discovery import session
from sidecar.identity.opaque.introspection import MAX_PAUSE, MAX_RESPONSE, IntrospectionError, Introspector
from tests.support.introspection import CLIENT_SECRET, Introspection


@pytest.fixture
async def endpoint(aiohttp_server: AiohttpServer) -> Introspection:
    return await Introspection().serve(aiohttp_server)


@pytest.fixture
async def client() -> AsyncIterator[IssuerClient]:
    async with session() as opened:
        yield IssuerClient(opened)


@pytest.fixture
def asker(endpoint: Introspection, client: IssuerClient) -> Introspector:
    return introspector(client, endpoint)


def introspector(client: IssuerClient, endpoint: Introspection, **changes: Any) -> Introspector:
    return Introspector(client, Settings.model_validate({**endpoint.settings, **changes}))


async def failure(asker: Introspector, token: str = "x") -> IntrospectionError:
    with pytest.raises(IntrospectionError) as info:
        await asker.ask(token)
    # The cause could quote the endpoint.
    assert info.value.__context__ is None or info.value.__suppress_context__
    return info.value


async def test_the_answer_is_returned_unchanged(endpoint: Introspection, asker: Introspector):
    token = endpoint.mint(subject="bob", extra=[1], iat=1, exp=2)
    assert await asker.ask(token) == endpoint.answer(subject="bob", extra=[1], iat=1, exp=2)
    assert await asker.ask("another") == {"active": False}


@pytest.mark.parametrize("token", ["a", "aZ09-._~+/==", "x" * 16384])
async def test_the_token_goes_in_the_form_and_nowhere_else(endpoint: Introspection, asker: Introspector, token: str):
    await asker.ask(token)
    assert endpoint.forms == [{"token": token, "token_type_hint": "access_token"}]


@pytest.mark.parametrize("status", [401, 403])
async def test_rejected_credentials_are_reported(endpoint: Introspection, asker: Introspector, status: int):
    endpoint.fault = status
    assert "client_id and client_secret" in (await failure(asker)).problem


@pytest.mark.parametrize("change", [{"client_id": "another"}, {"client_secret": "wrong"}, {"client_secret": "s3cr"}])
async def test_wrong_credentials_are_refused(endpoint: Introspection, client: IssuerClient, change: dict[str, str]):
    error = await failure(introspector(client, endpoint, **change), endpoint.mint())
    assert "rejects the configured client_id and client_secret (status 401)" in error.problem
    assert CLIENT_SECRET not in repr(error)


@pytest.mark.parametrize("status", [204, 301, 302, 303, 307, 308, 400, 404, 405, 500, 502, 503, 504])
async def test_another_status_is_no_answer(endpoint: Introspection, asker: Introspector, status: int):
    endpoint.fault, endpoint.headers = status, {"Location": endpoint.url}
    error = await failure(asker, endpoint.mint())
    assert str(status) in error.problem
    assert not error.rate_limited
    assert len(endpoint.asked) == 1  # a redirect is not followed: it would disclose the token to another server


@pytest.mark.parametrize(
    ("text", "seconds"),
    [(None, 1), ("7", 7), ("0", 1), ("9999", MAX_PAUSE), ("9" * 30, 1), ("-5", 1), ("soon", 1), ("²", 1), ("1.5", 1)],
)
async def test_an_endpoint_may_limit_the_rate(
    endpoint: Introspection, asker: Introspector, text: str | None, seconds: int
):
    endpoint.fault, endpoint.headers = 429, {"Retry-After": text} if text else {}
    error = await failure(asker)
    assert (error.rate_limited, error.retry_after) == (True, seconds)
    endpoint.fault = 503
    error = await failure(asker)
    assert (error.rate_limited, error.retry_after) == (False, seconds)


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
async def test_an_unreadable_answer_is_none(endpoint: Introspection, asker: Introspector, body: bytes):
    endpoint.body = body
    assert re.fullmatch(
        r"the answer (is not JSON|is not UTF-8|is not a JSON object|is nested more than 64 levels deep"
        r"|repeats a member name: active|has no member `active`)",
        (await failure(asker)).problem,
    )


@pytest.mark.parametrize(
    "kind", ["text/html", "text/plain", "application/octet-stream", "application/token-introspection+jwt"]
)
async def test_another_media_type_is_no_answer(endpoint: Introspection, asker: Introspector, kind: str):
    endpoint.content_type = kind
    assert f"the answer is {kind}, not application/json" in (await failure(asker, endpoint.mint())).problem


async def test_a_compressed_answer_is_none(endpoint: Introspection, asker: Introspector):
    endpoint.headers = {"Content-Encoding": "gzip"}
    assert "compressed" in (await failure(asker, endpoint.mint())).problem


async def test_the_size_of_an_answer_is_limited(endpoint: Introspection, asker: Introspector):
    padding = MAX_RESPONSE - len(b'{"active": true, "x": ""}')
    endpoint.body = b'{"active": true, "x": "%s"}' % (b"x" * padding)
    assert (await asker.ask("x"))["active"] is True
    endpoint.body = b'{"active": true, "x": "%s"}' % (b"x" * (padding + 1))
    assert "larger" in (await failure(asker)).problem


async def test_an_endless_answer_is_not_read_to_its_end(client: IssuerClient, aiohttp_raw_server: AiohttpRawServer):
    async def endless(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        while True:
            await response.write(b" " * 4096)

    server = await aiohttp_raw_server(endless)
    settings = {"url": str(server.make_url("/")), "client_id": "a", "client_secret": "b"}
    assert "larger" in (await failure(Introspector(client, Settings.model_validate(settings)))).problem


async def test_an_unreachable_endpoint_is_no_answer(endpoint: Introspection, asker: Introspector):
    await endpoint.stop()
    assert "the connection failed" in (await failure(asker)).problem


async def test_a_connection_closed_while_idle_is_retried(endpoint: Introspection, asker: Introspector):
    token = endpoint.mint()
    endpoint.drop = 1
    assert (await asker.ask(token))["active"] is True
    assert endpoint.questions(token) == 2
    endpoint.drop = 2
    assert "the connection failed" in (await failure(asker, token)).problem
    assert endpoint.questions(token) == 4


async def test_an_answer_must_be_http(client: IssuerClient):
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
