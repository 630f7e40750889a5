"""A scripted client that shows each refusal, first as an unmodified MCP client meets it, then one by one.

The story is a list of scenes. A scene makes one request and says which refusal should come of it
(or none); `play` plays them against any sidecar and tells whether each answer was the expected one.
What only an operator or a browser can do is asked of an `Operator` and of the demo's issuer.

The story presumes the shipped policy, and beside it: a plan without included contact credits
(`Stage.plan`), no `default_plan`, and a `backend.timeout` below `Backend.slow`. What a deployment
cannot show is left out by its code (`play(skip=...)`).
"""

from __future__ import annotations

import asyncio
import itertools
import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl, urlsplit

import httpx2
from mcp import Client
from mcp.client.auth import OAuthClientProvider, OAuthFlowError
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from mcp_types import CallToolResult
from pydantic import AnyUrl

from sidecar import __version__
from sidecar.demo.backend import HUGE_DOMAIN, SLOW_DOMAIN, Backend
from sidecar.demo.issuer import Approval, Issuer
from sidecar.errors import ErrorCode, Gate
from sidecar.model import Revision
from sidecar.protocol.answers import REFUSAL_KEY

STORY_CLIENT: Final = "story"
"""The client id of the scenes whose tokens are minted."""

NOT_SHOWN: Final[Mapping[ErrorCode, str]] = {
    ErrorCode.BODY_TIMEOUT: "takes as long as the server's patience",
    ErrorCode.OVERLOADED: "needs as many calls as limits.in_flight",
    ErrorCode.STORE_UNAVAILABLE: "needs the store to be stopped",
    ErrorCode.INTERNAL: "would be a bug",
}
"""Refusals without a scene, and why."""


class Operator(Protocol):
    """What the story asks of whoever keeps accounts and consents; an account is named by its `sub`."""

    async def grant(self, account: str, client_id: str) -> None:
        """Record that this account approved this client (`consent grant`)."""

    async def revoke(self, account: str, client_id: str) -> None:
        """Record that it no longer does (`consent revoke`)."""

    async def set_account(
        self,
        account: str,
        *,
        plan: str | None = None,
        status: str | None = None,
        quotas: Mapping[str, int | None] | None = None,
    ) -> None:
        """Create or change an account (`account set --create`).

        Args:
            quotas: limits by `quota.window`, such as `search_rows.month`; None takes the override back.
        """

    async def set_credits(self, account: str, pool: str, balance: int) -> None:
        """Set a balance (`credits set`)."""


# --- a client that logs in ---------------------------------------------------------------------

_REDIRECT: Final = "http://127.0.0.1:7777/callback"


@dataclass(slots=True)
class Memory:
    """The tokens and the registration of one client, kept for as long as the process lives."""

    tokens: OAuthToken | None = None
    client: OAuthClientInformationFull | None = None
    logins: int = 0

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


class _Browser:
    """The person's browser: it goes where the client sends it and reads where it is sent back to."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._returned: dict[str, str] = {}

    async def open(self, url: str) -> None:
        self._memory.logins += 1
        async with httpx2.AsyncClient() as http:
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
        httpx2.AsyncClient(auth=auth, timeout=30) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode) as client,
    ):
        yield client


# --- one request, and what came of it ----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: `code` is the refusal's id if the answer names one, `rpc` the JSON-RPC number."""

    status: int
    code: str | None = None
    rpc: int | None = None
    sentence: str = ""
    challenge: str | None = None
    result: Mapping[str, Any] | None = None

    @property
    def refused(self) -> bool:
        """Whether this is anything but a good result."""
        return self.status >= 300 or self.rpc is not None or bool((self.result or {}).get("isError"))

    def shows(self, expected: ErrorCode | None, status: int) -> bool:
        """Whether this is the expected refusal with this status, or none where none is expected.

        An answer that names no code (a JSON-RPC error that the protocol defines, a challenge) is
        compared by its JSON-RPC number, or by being a challenge.
        """
        if self.status != status:
            return False
        if expected is None:
            return not self.refused
        if self.code is not None:
            return self.code == expected.id
        return self.rpc == expected.row.rpc or (self.challenge is not None and status in (401, 403))


def read_answer(status: int, headers: Mapping[str, str], body: bytes) -> Answer:
    """Read any answer of a sidecar: a result, a JSON-RPC error, problem JSON, or a bare challenge.

    `headers` are looked up by lower-case names.
    """
    document = _document(headers.get("content-type", ""), body)
    error, result = _mapping(document.get("error")), document.get("result")
    found = _mapping(_mapping(_mapping(result).get("_meta")).get(REFUSAL_KEY))
    data = _mapping(error.get("data"))
    texts = [_mapping(part).get("text") for part in _mapping(result).get("content") or ()]
    said = [error.get("message"), *texts, document.get("detail"), document.get("title")]
    codes = [found.get("code"), _mapping(data.get(REFUSAL_KEY)).get("code"), data.get("code"), document.get("code")]
    number = error.get("code")
    return Answer(
        status=status,
        code=next((code for code in codes if isinstance(code, str)), None),
        rpc=number if isinstance(number, int) else None,
        sentence=next((text for text in said if isinstance(text, str)), ""),
        challenge=headers.get("www-authenticate"),
        result=result if isinstance(result, dict) else None,
    )


def read_result(result: CallToolResult) -> Answer:
    """The same of a result that the MCP client already read."""
    plain = result.model_dump(by_alias=True, mode="json", exclude_none=True)
    return read_answer(200, {"content-type": "application/json"}, json.dumps({"result": plain}).encode())


def _document(media_type: str, body: bytes) -> dict[str, Any]:
    text = body.decode("utf-8", "replace")
    if media_type.startswith("text/event-stream"):
        # The response is the last event; progress and keep-alives come before it.
        text = next((line[5:] for line in reversed(text.splitlines()) if line.startswith("data:")), "")
    try:
        return _mapping(json.loads(text))
    except ValueError:
        return {}


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


# --- the stage ---------------------------------------------------------------------------------


@dataclass(slots=True)
class Stage:
    """Everything a story happens on.

    Attributes:
        url: the sidecar's `resource`, reachable under that very URL.
        issuer: its issuer, which must issue tokens for `url`.
        backend: the backend behind it.
        operator: who keeps its store.
        account: whose account the story is about.
        plan: its plan: everything declared, and no included contact credits.
        small_plan: a plan without `search_shopify_stores`.
        body: the sidecar's `limits.body`, in bytes.
        response: its `limits.response`, in bytes; the story asks for one that is larger.
        waits: seconds until a token is certainly issued in a later second.
        reader: a client that may only read; a new one each time, as a sidecar remembers for ten
            minutes whom it challenged.
    """

    url: str
    issuer: Issuer
    backend: Backend
    operator: Operator
    account: str = "ada"
    plan: str = "story"
    small_plan: str = "free"
    body: int = 1 << 20
    response: int = 1 << 20
    waits: float = 1.1
    memory: Memory = field(default_factory=Memory)
    reader: str = field(default_factory=lambda: f"reader-{secrets.token_hex(4)}")
    _ids: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    async def set_up(self) -> None:
        """Give the account its plan and credits, and let approvals reach the store."""
        self.issuer.person = self.account
        self.issuer.approves = None
        self.issuer.on_approval = self._mirror
        self.backend.huge = self.response + 1
        await self.operator.set_account(self.account, plan=self.plan, status="active")
        await self.operator.set_credits(self.account, "contact", 5)
        for client_id in (STORY_CLIENT, self.reader):
            await self.operator.grant(self.account, client_id)

    async def _mirror(self, approval: Approval) -> None:
        await self.operator.grant(approval.subject, approval.client_id)

    def token(self, **changes: Any) -> str:
        """A good token of the story's client, with changes as `Issuer.mint` takes them."""
        return self.issuer.mint(**{"subject": self.account, "client_id": STORY_CLIENT, **changes})

    async def ask(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        *,
        token: str | None = "",
        meta: bool = True,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        verb: str = "POST",
        url: str | None = None,
        revision: str = Revision.V2026_07_28,
    ) -> Answer:
        """Send one message as a client of `revision` would, except for what a scene gets wrong.

        Args:
            token: the bearer token; empty for a good one, None for none.
            meta: whether the message carries the `_meta` that 2026-07-28 requires.
            headers: added to, or in place of, the right ones.
            content: in place of the message's bytes.
        """
        named = dict(params or {})
        if meta and revision >= Revision.V2026_07_28:
            named["_meta"] = _meta(revision)
        message = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": named}
        right = {
            "Accept": "application/json, text/event-stream",
            "Content-Type": "application/json",
            "MCP-Protocol-Version": str(revision),
            "Mcp-Method": method,
        }
        if "name" in named:
            right["Mcp-Name"] = named["name"]
        if token is not None:
            right["Authorization"] = f"Bearer {token or self.token()}"
        async with httpx2.AsyncClient(timeout=60) as http:
            answer = await http.request(
                verb,
                url or self.url,
                headers={**right, **(headers or {})},
                content=json.dumps(message).encode() if content is None else content,
            )
        return read_answer(answer.status_code, answer.headers, answer.content)

    async def call(self, tool: str, arguments: Mapping[str, Any] | None = None, **wrong: Any) -> Answer:
        """Call a tool, as `ask` does."""
        return await self.ask("tools/call", {"name": tool, "arguments": dict(arguments or {})}, **wrong)

    async def without_host(self) -> Answer:
        """A request that names no host: HTTP/1.0, as servers that speak 1.1 refuse it while parsing."""
        parts = urlsplit(self.url)
        head = f"POST {parts.path} HTTP/1.0\r\nContent-Length: 0\r\n\r\n"
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        try:
            writer.write(head.encode())
            start, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
            pairs = (line.partition(":") for line in lines if line)
            headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
        finally:
            writer.close()
        return read_answer(int(start.split()[1]), headers, body)


def _meta(revision: str) -> dict[str, Any]:
    return {
        "io.modelcontextprotocol/protocolVersion": str(revision),
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "story", "version": __version__},
    }


# --- the scenes --------------------------------------------------------------------------------

_ONE_CONTACT: Final = {"contact_ids": ["c3"], "confirm_spend_credits": True}


async def _first_login(stage: Stage) -> Answer:
    async with connect(stage.url, memory=stage.memory) as client:
        return read_result(await client.call_tool("list_taxonomy", {}))


async def _reveal_two(stage: Stage) -> Answer:
    two = {"contact_ids": ["c1", "c2"], "confirm_spend_credits": True}
    async with connect(stage.url, memory=stage.memory) as client:
        return read_result(await client.call_tool("reveal_contacts", two))


async def _usage(stage: Stage) -> Answer:
    async with connect(stage.url, memory=stage.memory) as client:
        return read_result(await client.call_tool("get_usage", {}))


async def _older_client(stage: Stage) -> Answer:
    async with connect(stage.url, mode="legacy", memory=stage.memory) as client:
        return read_result(await client.call_tool("search_shopify_stores", {"category": "coffee", "limit": 3}))


async def _keys_unavailable(stage: Stage) -> Answer:
    stage.issuer.keys_down = True
    stage.issuer.rotate()
    try:
        return await stage.call("list_taxonomy")
    finally:
        stage.issuer.keys_down = False
        del stage.issuer.keys[-1]


async def _revoked_before(stage: Stage) -> Answer:
    # Issued a minute ago, so certainly before the revocation: a new login would cure it.
    await stage.operator.revoke(stage.account, "leaver")
    issued = int(time.time()) - 60
    return await stage.call("list_taxonomy", token=stage.token(client_id="leaver", iat=issued))


async def _revoked_since(stage: Stage) -> Answer:
    await stage.operator.revoke(stage.account, "leaver")
    await asyncio.sleep(stage.waits)
    return await stage.call("list_taxonomy", token=stage.token(client_id="leaver"))


async def _disabled(stage: Stage) -> Answer:
    await stage.operator.set_account(stage.account, status="disabled")
    try:
        return await stage.call("list_taxonomy")
    finally:
        await stage.operator.set_account(stage.account, status="active")


async def _nobody(stage: Stage) -> Answer:
    await stage.operator.grant("nobody", STORY_CLIENT)
    return await stage.call("list_taxonomy", token=stage.token(subject="nobody"))


async def _smaller_plan(stage: Stage) -> Answer:
    await stage.operator.set_account(stage.account, plan=stage.small_plan)
    try:
        return await stage.call("search_shopify_stores")
    finally:
        await stage.operator.set_account(stage.account, plan=stage.plan)


async def _rows_used_up(stage: Stage) -> Answer:
    await stage.operator.set_account(stage.account, quotas={"search_rows.month": 10})
    try:
        return await stage.call("search_shopify_stores", {"limit": 100})
    finally:
        await stage.operator.set_account(stage.account, quotas={"search_rows.month": None})


async def _poor(stage: Stage) -> Answer:
    await stage.operator.set_credits(stage.account, "contact", 0)
    try:
        return await stage.call("reveal_contacts", _ONE_CONTACT)
    finally:
        await stage.operator.set_credits(stage.account, "contact", 5)


async def _backend_locked(stage: Stage) -> Answer:
    stage.backend.locked = True
    try:
        return await stage.call("list_taxonomy")
    finally:
        stage.backend.locked = False


async def _weak(stage: Stage) -> Answer:
    return await stage.call(
        "reveal_contacts", _ONE_CONTACT, token=stage.token(client_id=stage.reader, scopes=["stores:read"])
    )


async def _declined(stage: Stage) -> Answer:
    await _weak(stage)
    await asyncio.sleep(stage.waits)
    return await _weak(stage)


@dataclass(frozen=True, slots=True)
class Scene:
    """One request of the story.

    Attributes:
        title: what happens, for people.
        code: the refusal that should come of it; None for a call that should succeed.
        play: makes the request.
        status: the HTTP status of the answer, where it is not the one of the refusal's row.
    """

    title: str
    code: ErrorCode | None
    play: Callable[[Stage], Awaitable[Answer]]
    status: int | None = None

    @property
    def expected_status(self) -> int:
        """The HTTP status that the answer should have."""
        return self.status or (self.code.row.status if self.code is not None else 200)


_E = ErrorCode
_OTHER_ORIGIN: Final = {"Origin": "https://elsewhere.example"}

SCENES: Final[tuple[Scene, ...]] = (
    # as an unmodified client meets it
    Scene("An MCP client finds the issuer, registers, logs in and calls a tool", None, _first_login),
    Scene("It reveals two contacts: it is challenged for the scope, asks for it, pays 2 credits", None, _reveal_two),
    Scene("It reveals the same contacts again, which is free", None, _reveal_two),
    Scene("It asks what is left", None, _usage),
    Scene("A client of an older revision searches", None, _older_client),
    # gate 1
    Scene("A request that names no host", _E.REQUEST_MALFORMED, lambda s: s.without_host()),
    Scene("Another Host name", _E.HOST_REFUSED, lambda s: s.call("list_taxonomy", headers={"Host": "other.example"})),
    Scene("A foreign web page", _E.ORIGIN_REFUSED, lambda s: s.call("list_taxonomy", headers=_OTHER_ORIGIN)),
    Scene("Another path", _E.PATH_UNKNOWN, lambda s: s.call("list_taxonomy", url=f"{s.url}/elsewhere")),
    Scene("Another HTTP method", _E.HTTP_METHOD_REFUSED, lambda s: s.call("list_taxonomy", verb="PUT")),
    Scene(
        "A client that accepts only HTML",
        _E.NOT_ACCEPTABLE,
        lambda s: s.call("list_taxonomy", headers={"Accept": "text/html"}),
    ),
    Scene("A body that is too large", _E.BODY_TOO_LARGE, lambda s: s.ask("ping", content=b" " * (s.body + 1))),
    Scene(
        "A body that is not JSON by its type",
        _E.MEDIA_TYPE_UNSUPPORTED,
        lambda s: s.call("list_taxonomy", headers={"Content-Type": "text/plain"}),
    ),
    # gate 2
    Scene("No token", _E.TOKEN_MISSING, lambda s: s.call("list_taxonomy", token=None)),
    Scene(
        "A token that has expired",
        _E.TOKEN_INVALID,
        lambda s: s.call("list_taxonomy", token=s.token(iat=int(time.time()) - 7200, lifetime=-3600)),
    ),
    Scene(
        "A token for another server",
        _E.TOKEN_INVALID,
        lambda s: s.call("list_taxonomy", token=s.token(audience="https://other.example/mcp")),
    ),
    Scene("A new key, and the issuer does not answer", _E.ISSUER_UNAVAILABLE, _keys_unavailable),
    # gate 3
    Scene("Half a JSON document", _E.MESSAGE_UNPARSABLE, lambda s: s.ask("ping", content=b'{"jsonrpc": "2.0",')),
    Scene(
        "Another JSON-RPC",
        _E.MESSAGE_MALFORMED,
        lambda s: s.ask("tools/list", content=b'{"jsonrpc": "1.0", "id": 1, "method": "tools/list", "params": {}}'),
    ),
    Scene("No _meta", _E.PARAMS_MALFORMED, lambda s: s.ask("tools/list", meta=False)),
    Scene(
        "A header that names another tool than the body",
        _E.HEADER_MISMATCH,
        lambda s: s.call("reveal_contacts", _ONE_CONTACT, headers={"Mcp-Name": "list_taxonomy"}),
    ),
    Scene("A revision from the future", _E.VERSION_UNSUPPORTED, lambda s: s.ask("tools/list", revision="2099-01-01")),
    Scene(
        "Somebody else's session",
        _E.SESSION_UNKNOWN,
        lambda s: s.ask("tools/list", revision=Revision.V2025_11_25, headers={"Mcp-Session-Id": "not-mine"}),
    ),
    # gate 4
    Scene(
        "A method that the policy does not declare",
        _E.METHOD_NOT_ALLOWED,
        lambda s: s.ask("completion/complete"),
        status=404,
    ),
    Scene("A tool that the policy does not declare", _E.TOOL_UNKNOWN, lambda s: s.call("drop_tables")),
    Scene("Revealing with a token that may only read", _E.INSUFFICIENT_SCOPE, _weak),
    Scene("Once more, after the person declined", _E.INSUFFICIENT_SCOPE, _declined, status=200),
    Scene(
        "A limit beyond the schema", _E.ARGUMENTS_REFUSED, lambda s: s.call("search_shopify_stores", {"limit": 1000})
    ),
    Scene(
        "Revealing without the confirmation",
        _E.CONFIRMATION_REQUIRED,
        lambda s: s.call("reveal_contacts", {"contact_ids": ["c3"]}),
    ),
    # gates 5 to 7
    Scene(
        "A client that nobody approved",
        _E.CONSENT_MISSING,
        lambda s: s.call("list_taxonomy", token=s.token(client_id="unapproved")),
    ),
    Scene("A client that was revoked a moment ago", _E.CONSENT_REVOKED, _revoked_before, status=401),
    Scene("The same client with a newer token", _E.CONSENT_REVOKED, _revoked_since),
    Scene("An account that nobody set up", _E.ACCOUNT_UNKNOWN, _nobody),
    Scene("An account that was disabled", _E.ACCOUNT_DISABLED, _disabled),
    Scene("An account on a smaller plan", _E.PLAN_REQUIRED, _smaller_plan),
    Scene("More rows than the month has left", _E.QUOTA_EXCEEDED, _rows_used_up),
    Scene("No contact credits left", _E.INSUFFICIENT_CREDITS, _poor),
    # behind the gates
    Scene("A backend that turns the sidecar away", _E.BACKEND_UNAVAILABLE, _backend_locked),
    Scene(
        "A backend that takes too long",
        _E.BACKEND_TIMEOUT,
        lambda s: s.call("get_shopify_store", {"domain": SLOW_DOMAIN}),
    ),
    Scene(
        "An answer that is too large",
        _E.RESPONSE_TOO_LARGE,
        lambda s: s.call("get_shopify_store", {"domain": HUGE_DOMAIN}),
    ),
)


@dataclass(frozen=True, slots=True)
class Shown:
    """A scene, and what came of it.

    `problem` says what is wrong whatever the answer is: there was none (`answer` is None), or a
    call that a gate refused went on to the backend all the same.
    """

    scene: Scene
    answer: Answer | None
    problem: str | None = None

    @property
    def as_expected(self) -> bool:
        """Whether the sidecar did what the story says."""
        if self.answer is None or self.problem is not None:
            return False
        return self.answer.shows(self.scene.code, self.scene.expected_status)

    def line(self) -> str:
        """One line for people, and what the answer said on a second one."""
        wanted = self.scene.code.id if self.scene.code is not None else "ok"
        answer = self.answer or Answer(0)
        mark = str(answer.status) if self.as_expected else "FAILED"
        told = [f"{mark:6}  {wanted:22}  {self.scene.title}"]
        if not self.as_expected:
            got = answer.code or answer.rpc or "no refusal"
            told.append(self.problem or f"answered {answer.status} {got}, not {self.scene.expected_status} {wanted}")
        if answer.refused and answer.sentence:
            told.append(answer.sentence)
        return "\n        ".join(told)


async def play(stage: Stage, *, skip: Collection[ErrorCode] = (), say: Callable[[str], object] = print) -> list[Shown]:
    """Play the story and tell it line by line; the sidecar is right if every scene is `as_expected`.

    A scene that cannot be played (the connection breaks, the login fails) is told and the story
    goes on.

    Args:
        skip: refusals that this deployment cannot show.
        say: takes each line.
    """
    await stage.set_up()
    shown = []
    for scene in SCENES:
        if scene.code is not None and scene.code in skip:
            continue
        shown.append(await _play_one(stage, scene))
        say(shown[-1].line())
    return shown


async def _play_one(stage: Stage, scene: Scene) -> Shown:
    before = stage.backend.requests
    try:
        answer = await scene.play(stage)
    except Exception as error:  # noqa: BLE001 - a broken scene is a finding, and the others still count
        return Shown(scene, None, _why(error))
    kept_away = scene.code is not None and scene.code.row.gate is not Gate.FORWARD
    leaked = kept_away and stage.backend.requests != before
    return Shown(scene, answer, "the backend was asked" if leaked else None)


def _why(error: BaseException) -> str:
    """The first real reason: what goes wrong inside the MCP client comes in exception groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"
