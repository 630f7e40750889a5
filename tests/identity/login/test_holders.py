"""Logins at a real issuer over HTTP: the exchange of a code, userinfo, and the names of the person."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from sidecar.config.settings.settings import Claims, IssuerSettings
from sidecar.identity.issuers import IssuerRegistry
from sidecar.identity.login.holders import CodeExchange, Holder, LoginIssuer
from sidecar.identity.login.login_endpoints import MAX_REPLY, LoginError, LoginFault
from tests.support.issuer import Issuer

Json = dict[str, Any]
EXCHANGE = CodeExchange(
    "the-code", "the-verifier", "the-nonce", "https://mcp.example.com/account/callback", "page", None
)


@dataclass
class Server:
    """An OpenID provider whose answers a test chooses.

    Attributes:
        claims: of the ID token, in addition to the usual ones; None removes one.
        userinfo: answer of the userinfo endpoint.
        answer: answer of the token endpoint instead of tokens: status, body and media type.
        metadata: members of the metadata, in addition to the usual ones; None removes one.
        forms: what the token endpoint has received, with the credentials of HTTP Basic.
    """

    tokens: Issuer = field(default_factory=Issuer)
    claims: Json = field(default_factory=dict)
    userinfo: Json | None = None
    answer: tuple[int, bytes, str] | None = None
    metadata: Json = field(default_factory=dict)
    forms: list[tuple[Json, str | None]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/.well-known/openid-configuration/api/auth", self._metadata)
        app.router.add_get("/api/auth/jwks", self._jwks)
        app.router.add_post("/token", self._token)
        app.router.add_get("/userinfo", self._userinfo)
        return app

    async def _metadata(self, request: web.Request) -> web.Response:
        base = self.tokens.url.removesuffix("/api/auth")
        made = {
            **self.tokens.document(),
            "authorization_endpoint": f"{base}/authorize",
            "token_endpoint": f"{base}/token",
            "userinfo_endpoint": f"{base}/userinfo",
            **self.metadata,
        }
        self.asked.append(request.path)
        return web.json_response({name: value for name, value in made.items() if value is not None})

    async def _jwks(self, _: web.Request) -> web.Response:
        return web.json_response(self.tokens.jwks)

    async def _token(self, request: web.Request) -> web.Response:
        self.forms.append((dict(parse_qsl(await request.text())), request.headers.get("Authorization")))
        if self.answer is not None:
            status, body, kind = self.answer
            return web.Response(status=status, body=body, content_type=kind)
        claims = {"audience": "page", "client_id": None, "scope": None, "nonce": "the-nonce", **self.claims}
        return web.json_response(
            {"access_token": "opaque", "id_token": self.tokens.mint(header={"typ": None}, **claims)}
        )

    async def _userinfo(self, request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer opaque"
        return web.json_response(self.userinfo) if self.userinfo is not None else web.Response(status=500)


Login = Callable[..., Awaitable[Holder]]


@pytest.fixture
async def server() -> Server:
    return Server()


@pytest.fixture
async def login(server: Server) -> AsyncIterator[Login]:
    """Log in with some settings of the issuer."""
    async with AsyncExitStack() as stack:
        served = await stack.enter_async_context(TestServer(server.application()))
        server.tokens.url = str(served.make_url("/api/auth"))
        registry = await stack.enter_async_context(IssuerRegistry())

        async def run(secret: str | None = None, **settings: Any) -> Holder:
            issuer = IssuerSettings(issuer=server.tokens.url, **settings)
            return await LoginIssuer(issuer, registry).holder(replace(EXCHANGE, secret=secret))

        yield run


async def test_a_public_client_names_itself_in_the_form(server: Server, login: Login):
    assert await login() == Holder("main", "ada", "ada", "")
    [(form, credentials)] = server.forms
    assert credentials is None
    assert form == {
        "grant_type": "authorization_code",
        "code": "the-code",
        "redirect_uri": "https://mcp.example.com/account/callback",
        "code_verifier": "the-verifier",
        "client_id": "page",
    }


async def test_a_secret_is_sent_by_basic_authentication(server: Server, login: Login):
    await login(secret="a:b ü")
    [(form, credentials)] = server.forms
    assert {"client_id", "client_secret"}.isdisjoint(form)
    user, _, password = base64.b64decode((credentials or "").removeprefix("Basic ")).decode().partition(":")
    assert (user, unquote_plus(password)) == ("page", "a:b ü")


async def test_a_secret_is_sent_in_the_form_where_only_that_is_supported(server: Server, login: Login):
    server.metadata = {"token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"]}
    await login(secret="s3cret")
    [(form, credentials)] = server.forms
    assert (credentials, form["client_id"], form["client_secret"]) == (None, "page", "s3cret")


async def test_a_name_is_for_the_person_only(server: Server, login: Login):
    server.claims = {"name": "Ada Lovelace", "email": "ada@example.com"}
    assert (await login()).name == "Ada Lovelace"
    server.claims = {"name": 5, "email": "ada@example.com"}
    assert (await login()).name == "ada@example.com"


async def test_the_account_claim_is_that_of_the_id_token(server: Server, login: Login):
    server.claims = {"org": {"id": "acme"}}
    assert await login(claims=Claims(account="org.id")) == Holder("main", "acme", "ada", "")


async def test_the_account_claim_is_else_that_of_userinfo(server: Server, login: Login):
    server.userinfo = {"sub": "ada", "org": "acme"}
    assert await login(claims=Claims(account="org")) == Holder("main", "acme", "ada", "")


async def test_userinfo_of_another_person_names_no_account(server: Server, login: Login):
    server.userinfo = {"sub": "bob", "org": "acme"}
    with pytest.raises(LoginError) as failed:
        await login(claims=Claims(account="org"))
    assert failed.value.fault is LoginFault.ACCOUNT


async def test_userinfo_replaces_no_claim_of_the_id_token(server: Server, login: Login):
    server.claims = {"tid": "one"}
    server.userinfo = {"sub": "ada", "org": "acme", "tid": "two", "iss": "https://evil.example"}
    assert (await login(claims=Claims(account="org"))).account == "acme"


async def test_a_client_claim_for_access_tokens_is_not_asked_of_id_tokens(login: Login):
    assert (await login(claims=Claims(client_id="cid"))).subject == "ada"


Answer = tuple[int, bytes, str]


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ((400, b'{"error":"invalid_grant"}', "application/json"), LoginFault.CODE),
        ((401, b'{"error":"invalid_client"}', "application/json"), LoginFault.CLIENT),
        ((400, b'{"error":"unauthorized_client"}', "application/json"), LoginFault.CLIENT),
        ((400, b'{"error":"server_error"}', "application/json"), LoginFault.ISSUER),
        ((500, b"<h1>oops</h1>", "text/html"), LoginFault.ISSUER),
        ((302, b"", "text/html"), LoginFault.ISSUER),
        ((200, b"not json", "application/json"), LoginFault.ISSUER),
        ((200, b"[]", "application/json"), LoginFault.ISSUER),
        ((200, b'{"id_token":"a","id_token":"b"}', "application/json"), LoginFault.ISSUER),
        ((200, b'"' + b"x" * MAX_REPLY + b'"', "application/json"), LoginFault.ISSUER),
        ((200, b'{"access_token":"x"}', "application/json"), LoginFault.TOKEN),
        ((200, b'{"id_token":"a.b.c"}', "application/json"), LoginFault.TOKEN),
        ((200, b'{"id_token":7}', "application/json"), LoginFault.TOKEN),
    ],
    ids=lambda value: value.value if isinstance(value, LoginFault) else None,
)
async def test_other_answers_of_the_token_endpoint(server: Server, login: Login, answer: Answer, fault: LoginFault):
    server.answer = answer
    with pytest.raises(LoginError) as failed:
        await login(secret="s3cret")
    assert failed.value.fault is fault
    for secret in ("the-code", "the-verifier", "s3cret", "the-nonce"):
        assert secret not in failed.value.problem


@pytest.mark.parametrize(
    "metadata",
    [
        {"token_endpoint": None},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"authorization_endpoint": "http://elsewhere.example/authorize"},
        {"token_endpoint": "http://elsewhere.example/token"},
        {"token_endpoint": 5},
        {"issuer": "https://evil.example"},
    ],
    ids=str,
)
async def test_other_metadata_is_refused(server: Server, login: Login, metadata: Json):
    server.metadata = metadata
    with pytest.raises(LoginError) as failed:
        await login()
    assert failed.value.fault is LoginFault.ISSUER
    assert server.forms == []


async def test_metadata_is_kept_and_asked_for_in_turns(server: Server):
    async with TestServer(server.application()) as served, IssuerRegistry() as registry:
        server.tokens.url = str(served.make_url("/api/auth"))
        issuer = LoginIssuer(IssuerSettings(issuer=server.tokens.url), registry)
        server.metadata = {"issuer": "https://evil.example"}
        for _ in range(5):
            with pytest.raises(LoginError):
                await issuer.metadata()
        assert len(server.asked) == 1, "no browser may cause a flood of fetches"
