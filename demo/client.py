"""Official MCP client with its own OAuth, configured with a URL only, and a record of its requests."""

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

from demo.answers import Answer, read_answer

_REDIRECT: Final = "http://127.0.0.1:7777/callback"


@dataclass(frozen=True, slots=True)
class Wire:
    """One request of the client. The bodies of good answers are left to the client."""

    request: str
    answer: Answer


@dataclass(slots=True)
class Memory:
    """State of one client: its registration, its tokens, and its person's behaviour.

    Attributes:
        declines: the person closes the browser instead of logging in.
        logins: number of browser logins.
        wires: every request that it sent, oldest first.
    """

    tokens: OAuthToken | None = None
    client: OAuthClientInformationFull | None = None
    declines: bool = False
    logins: int = 0
    wires: list[Wire] = field(default_factory=list)

    async def get_tokens(self) -> OAuthToken | None:
        """Return the tokens, if any."""
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        """Store the tokens."""
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        """Return the registration, if any."""
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        """Store the registration."""
        self.client = client_info

    async def note(self, response: httpx2.Response) -> None:
        """Record a request, with its answer if it is an error."""
        if response.status_code >= 400:
            await response.aread()
            answer = read_answer(response.status_code, response.headers, response.content)
        else:
            answer = Answer(response.status_code)
        self.wires.append(Wire(describe(response.request), answer))


class _Browser:
    """Browser of the person: it opens the client's URL and reads the redirect back."""

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
    """Connect an unmodified MCP client that finds the issuer, registers and logs in.

    Args:
        url: the sidecar's `resource`.
        name: the client name that it registers.
        mode: `auto`, `legacy` or a revision, as `mcp.Client` takes it.
        memory: of an earlier connection, to reuse its tokens.

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
    # Everything is on this machine: ignore a proxy in the environment.
    return httpx2.AsyncClient(auth=auth, timeout=30, trust_env=False, event_hooks={"response": [note]})


def describe(request: httpx2.Request) -> str:
    """Return one line that describes a request, without anything secret.

    `request.content` must be available, as it is for all requests of this package.
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
