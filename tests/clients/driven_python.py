"""The official Python client, driven like the TypeScript ones in `driven`; it signs in at any issuer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2
from mcp import Client
from mcp.client.auth import OAuthClientProvider, TokenStorage
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from pydantic import AnyUrl

from tests.clients.driven import Seen
from tests.support.rig import MODERN

Json = dict[str, Any]

CALLBACK: Final = "http://127.0.0.1:1/callback"
MODES: Final = {"python-legacy": "legacy", "python-modern": MODERN}


class Kept(TokenStorage):
    """Tokens and the registration, in memory."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None
        self.client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


class DrivenPython:
    """Does what `Driven` does.

    Args:
        url: where it connects to.
        mode: `legacy` or `2026-07-28`.
        browser: signs in there (`person.Person.url`); else the authorization server answers with the redirect itself.
    """

    def __init__(self, url: str, mode: str, browser: str | None = None) -> None:
        self._url = url
        self._mode = mode
        self._browser = browser
        self._stack = AsyncExitStack()
        self._asked: list[str] = []
        self._seen: list[Seen] = []

    async def connect(self) -> None:
        """Connect, and log in when the server wants it."""
        auth = OAuthClientProvider(
            self._url,
            OAuthClientMetadata(
                client_name="driven client", redirect_uris=[AnyUrl(CALLBACK)], token_endpoint_auth_method="none"
            ),
            Kept(),
            redirect_handler=self._sent,
            callback_handler=self._come_back,
        )
        http = httpx2.AsyncClient(auth=auth, timeout=30, event_hooks={"response": [self._watch]})
        await self._stack.enter_async_context(http)
        made = Client(streamable_http_client(self._url, http_client=http), mode=self._mode)
        self._client = await self._stack.enter_async_context(made)
        # One mode asks for nothing at the start, and a request that leads to a login is not tried a third time.
        await self._client.list_tools()

    async def tools(self) -> set[str]:
        return {tool.name for tool in (await self._client.list_tools()).tools}

    async def call(self, name: str, arguments: Json | None = None) -> Json:
        result = await self._client.call_tool(name, arguments or {})
        return dict(result.model_dump(by_alias=True, exclude_none=True, mode="json"))

    async def logins(self) -> list[set[str]]:
        """The scopes that each login so far asked for."""
        return [set(parse_qs(urlsplit(url).query)["scope"][0].split()) for url in self._asked]

    async def seen(self, asked: str) -> Seen:
        """Wait for the answer to a method, or to a GET or DELETE."""
        async with asyncio.timeout(60):
            while True:
                for answer in self._seen:
                    if answer.asked == asked:
                        return answer
                await asyncio.sleep(0.01)

    async def close(self) -> None:
        await self._stack.aclose()

    async def _watch(self, response: httpx2.Response) -> None:
        if str(response.request.url) == self._url:
            posted = response.request.method == "POST"
            asked = json.loads(response.request.content).get("method", "response") if posted else "GET"
            self._seen.append(Seen(asked, response.status_code, response.headers.get("content-type"), None))

    async def _sent(self, url: str) -> None:
        self._asked.append(url)

    async def _come_back(self) -> AuthorizationCodeResult:
        async with httpx2.AsyncClient(timeout=30) as http:
            asked = self._asked[-1]
            to = asked if self._browser is None else f"{self._browser}?{urlencode({'to': asked})}"
            answer = await http.get(to, follow_redirects=False)
        params = {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}
        return AuthorizationCodeResult(code=params["code"], state=params["state"], iss=params["iss"])


@asynccontextmanager
async def driven_python(kind: str, url: str, browser: str | None = None) -> AsyncIterator[DrivenPython]:
    """A client that has not connected yet; `kind` is one of `MODES`."""
    made = DrivenPython(url, MODES[kind], browser)
    try:
        yield made
    finally:
        await made.close()
