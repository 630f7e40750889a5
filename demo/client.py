"""The official MCP client with its own OAuth, given nothing but a URL, and what it sends while it works."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx2
from mcp import Client
from mcp.client.auth import OAuthClientProvider, OAuthFlowError
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from pydantic import AnyUrl

from sidecar.demo.answers import Answer, read_answer

_REDIRECT: Final = "http://127.0.0.1:7777/callback"


@dataclass(frozen=True, slots=True)
class Wire:
    """One request that the client sent. The bodies of good answers are left to the client."""

    request: str
    answer: Answer


@dataclass(slots=True)
class Memory:
    """What one client keeps: its registration and its tokens; and what its person does.

    Attributes:
        declines: the person closes the browser instead of logging in.
        logins: how often the browser was opened.
        wires: every request it sent, oldest first.
    """

    tokens: OAuthToken | None = None
    client: OAuthClientInformationFull | None = None
    declines: bool = False
    logins: int = 0
    wires: list[Wire] = field(default_factory=list)

    async def get_tokens(self) -> OAuthToken | None:
        """The tokens, if there are any."""
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        """Keep the tokens."""
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        """The registration, if there is one."""
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        """Keep the registration."""
        self.client = client_info

    async def note(self, response: httpx2.Response) -> None:
        """Keep what was sent, and the answer if it is an error."""
        if response.status_code >= 400:
            await response.aread()
            answer = read_answer(response.status_code, response.headers, response.content)
        else:
            answer = Answer(response.status_code)
        self.wires.append(Wire(describe(response.request), answer))


class _Browser:
    """The person's browser: it goes where the client sends it and reads where it is sent back to."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._returned: dict[str, str] = {}

    async def open(self, url: str) -> None:
        self._memory.logins += 1
        if self._memory.declines:
            self._returned = {"error": "the browser was closed"}
            return
        async with _http(self._memory.note) as http:
            answer = await http.get(url)
        self._returned = dict(parse_qsl(urlsplit(answer.headers.get("Location", "")).query))

    async def come_back(self) -> AuthorizationCodeResult:
        if "code" not in self._returned:
            raise OAuthFlowError(f"the login failed: {self._returned.get('error', 'no redirect')}")
        return AuthorizationCodeResult.model_validate(self._returned)


@asynccontextmanager
async def connect(
    url: str, *, name: str = "Story", mode: str = "auto", memory: Memory | None = None
) -> AsyncIterator[Client]:
    """An unmodified MCP client that finds the issuer, registers, logs in and connects.

    Args:
        url: the sidecar's `resource`.
        name: what it registers as.
        mode: `auto`, `legacy` or a revision, as `mcp.Client` takes it.
        memory: kept from an earlier connection, to go on with its tokens.

    Raises:
        OAuthFlowError: the login failed (perhaps inside an exception group).
    """
    memory = memory or Memory()
    browser = _Browser(memory)
    metadata = OAuthClientMetadata(
        redirect_uris=[AnyUrl(_REDIRECT)], client_name=name, token_endpoint_auth_method="none"
    )
    auth = OAuthClientProvider(url, metadata, memory, browser.open, browser.come_back)
    async with (
        _http(memory.note, auth) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode) as client,
    ):
        yield client


def _http(note: Callable[[httpx2.Response], Awaitable[None]], auth: httpx2.Auth | None = None) -> httpx2.AsyncClient:
    # Everything is on this machine: a proxy of the environment has no part in it.
    return httpx2.AsyncClient(auth=auth, timeout=30, trust_env=False, event_hooks={"response": [note]})


def describe(request: httpx2.Request) -> str:
    """One line that says what a request asks for, without anything secret.

    `request.content` must be there, as it is of all that this package sends.
    """
    said = f"{request.method} {request.url.path}"
    if request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return f"{said} grant_type={parse_qs(request.content.decode()).get('grant_type', ['?'])[0]}"
    try:
        message = json.loads(request.content)
    except ValueError:
        return said
    if not isinstance(message, dict) or "method" not in message:
        return said
    params = message.get("params") or {}
    revision = request.headers.get("mcp-protocol-version") or params.get("protocolVersion", "")
    said = f"{said} [{revision}] {message['method']}"
    if message["method"] == "tools/call":
        said = f"{said} {params.get('name')} {json.dumps(params.get('arguments', {}))}"
    return said
