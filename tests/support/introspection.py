"""An introspection endpoint over HTTP, and the opaque tokens that it knows.

    async with Introspection(issuer=issuer.url) as endpoint:
        token = endpoint.mint(scopes=["stores:read"])   # a good one
        endpoint.revoke(token)                          # no longer
        endpoint.fault = 503                            # every question is answered 503
        assert endpoint.questions(token) == 1

The sidecar also asks about made-up tokens, to find out how the endpoint is; `about_minted` leaves those out.
"""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import time
from collections.abc import Callable, Iterable
from typing import Any, Final, Self
from urllib.parse import unquote_plus

from aiohttp import web
from aiohttp.test_utils import TestServer
from pytest_aiohttp import AiohttpServer

from tests.support.issuer import ISSUER, RESOURCE, SCOPES

Json = dict[str, Any]

CLIENT_ID: Final = "https://side.example/car?a=1&b=%"
CLIENT_SECRET: Final = "s3cr:t +%&=é"


class Introspection:
    """A token introspection endpoint (RFC 7662).

    Args:
        issuer: the `iss` of answers; None leaves it out.
        resource: the `aud` of answers.
        clock: seconds since the epoch, for `iat` and `exp`.

    Attributes:
        fault: a status to answer everything with.
        headers: further headers of every answer.
        body: bytes to answer with, instead of what is known of the token.
        content_type: of every answer.
        drop: how many requests to end without an answer.
        hold: unless it is set, nothing is answered; waits at most 30 seconds.
        held: the tokens that `hold` is about; None: all.
        asked: the tokens asked about, in order.
        forms: the whole form of each question.
        at_once: the most questions that were open at one time.
    """

    def __init__(
        self, *, issuer: str | None = ISSUER, resource: str = RESOURCE, clock: Callable[[], float] = time.time
    ) -> None:
        self.issuer = issuer
        self.resource = resource
        self.url = ""
        self.fault: int | None = None
        self.headers: dict[str, str] = {}
        self.body: bytes | None = None
        self.content_type = "application/json"
        self.drop = 0
        self.hold = asyncio.Event()
        self.hold.set()
        self.held: set[str] | None = None
        self.asked: list[str] = []
        self.forms: list[Json] = []
        self.at_once = 0
        self._open = 0
        self._clock = clock
        self._answers: dict[str, Json] = {}
        self._minted: set[str] = set()
        self._server: TestServer | None = None

    @property
    def settings(self) -> Json:
        """The `introspection` section of an issuer in the config."""
        return {"url": self.url, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}

    # --- tokens ------------------------------------------------------------------------------

    def answer(
        self, *, subject: str = "ada", client_id: str = "cli-1", scopes: Iterable[str] = SCOPES, **members: Any
    ) -> Json:
        """Return the answer for a good token; further members replace any other, None removes one."""
        now = int(self._clock())
        made: Json = {
            "active": True,
            "iss": self.issuer,
            "sub": subject,
            "aud": self.resource,
            "client_id": client_id,
            "scope": " ".join(scopes),
            "iat": now,
            "exp": now + 900,
            "token_type": "Bearer",
            **members,
        }
        return {name: value for name, value in made.items() if value is not None}

    def mint(self, **members: Any) -> str:
        """A token; the arguments are those of `answer`."""
        token = f"opaque-{secrets.token_urlsafe(12)}"
        self._answers[token] = self.answer(**members)
        self._minted.add(token)
        return token

    def bearer(self, **members: Any) -> list[str]:
        """The value of the header that carries a token."""
        return [f"Bearer {self.mint(**members)}"]

    def revoke(self, token: str) -> None:
        """Say from now on that it is not active."""
        del self._answers[token]

    # --- what was asked ----------------------------------------------------------------------

    def questions(self, token: str) -> int:
        """Number of questions about a token."""
        return self.asked.count(token)

    @property
    def about_minted(self) -> list[str]:
        """The questions about tokens that were minted here."""
        return [token for token in self.asked if token in self._minted]

    # --- serving -----------------------------------------------------------------------------

    async def serve(self, aiohttp_server: AiohttpServer) -> Self:
        """Listen until the fixture `aiohttp_server` ends."""
        app = web.Application()
        app.router.add_post("/introspect", self._answer)
        self._server = await aiohttp_server(app, access_log=None, shutdown_timeout=0.1)
        self.url = str(self._server.make_url("/introspect"))
        return self

    async def stop(self) -> None:
        """Refuse connections."""
        assert self._server is not None
        self.hold.set()
        await self._server.close()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.forms.append(form)
        self.asked.append(form["token"])
        self._open += 1
        self.at_once = max(self.at_once, self._open)
        try:
            if self.drop:
                self.drop -= 1
                assert request.transport is not None
                request.transport.close()
            if self.held is None or form["token"] in self.held:
                async with asyncio.timeout(30):
                    await self.hold.wait()
            return self._say(request, form["token"])
        finally:
            self._open -= 1

    def _say(self, request: web.Request, token: str) -> web.Response:
        if self.fault is not None:
            return web.Response(status=self.fault, headers=self.headers, text="no")
        if not _authenticated(request):
            return web.json_response({"error": "invalid_client"}, status=401)
        body = json.dumps(self._answers.get(token, {"active": False})).encode() if self.body is None else self.body
        return web.Response(body=body, headers=self.headers, content_type=self.content_type)


def _authenticated(request: web.Request) -> bool:
    """HTTP Basic with both parts form-urlencoded (RFC 6749 section 2.3.1)."""
    scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
    if scheme != "Basic":
        return False
    name, _, secret = base64.b64decode(encoded).decode().partition(":")
    return (unquote_plus(name), unquote_plus(secret)) == (CLIENT_ID, CLIENT_SECRET)
