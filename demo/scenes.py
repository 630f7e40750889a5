"""Further refusals, gate by gate: each is one request with one fault."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from demo.backend import HUGE_DOMAIN, SLOW_DOMAIN
from demo.client import Wire
from demo.narration import ACCOUNT, Step, Story, expect
from demo.processes import until
from demo.stage import Stage
from sidecar.errors import ErrorCode, Gate
from sidecar.model import Revision

SET_UP: Final = (
    ("consent", "grant", ACCOUNT, "story"),
    ("consent", "grant", ACCOUNT, "reader"),
    ("consent", "grant", "dora", "story"),
    ("account", "set", "dora", "--plan", "team", "--status", "disabled", "--create"),
    ("consent", "grant", "fred", "story"),
    ("account", "set", "fred", "--plan", "free", "--create"),
    ("consent", "grant", "noplan", "story"),
)
"""Commands that make the accounts of the scenes."""

NOT_SHOWN: Final[Mapping[ErrorCode, str]] = {
    ErrorCode.BODY_TIMEOUT: "takes as long as the body timeout",
    ErrorCode.OVERLOADED: "needs as many calls as limits.in_flight",
    ErrorCode.EVENT_UNKNOWN: "needs a stream that is resumed on a session",
    ErrorCode.CONFIRMATION_EXPIRED: "takes five minutes",
    ErrorCode.CONFIRMATION_UNAVAILABLE: "needs a tool that only a person confirms, in the client's own form",
    ErrorCode.STORE_UNAVAILABLE: "needs the store to be stopped",
    ErrorCode.INTERNAL: "would be a bug",
}
"""Refusals that the story does not show, with the reason."""

_E = ErrorCode
_ONE_CONTACT: Final = {"contact_ids": ["c9"], "confirm_spend_credits": True}
_VERSION_1: Final = b'{"jsonrpc": "1.0", "id": 1, "method": "tools/list", "params": {}}'


@dataclass(frozen=True, slots=True)
class Scene:
    """One request of the story.

    Attributes:
        title: description for people.
        code: the expected refusal.
        play: sends the request with a token.
        status: the expected HTTP status, if it is not that of the refusal's row.
        token: changes of the token, as `TrialIssuer.mint` takes them; None for a valid token.
        calls: the number of tool calls that reach the backend.
    """

    title: str
    code: ErrorCode
    play: Callable[[Stage, str], Awaitable[Wire]]
    status: int | None = None
    token: Mapping[str, object] | None = None
    calls: int = 0


def _list(**wrong: Any) -> Callable[[Stage, str], Awaitable[Wire]]:
    return lambda stage, token: stage.ask.call("list_taxonomy", token=token, **wrong)


def _call(tool: str, /, **arguments: object) -> Callable[[Stage, str], Awaitable[Wire]]:
    return lambda stage, token: stage.ask.call(tool, arguments, token=token)


async def _keys_unavailable(stage: Stage, token: str) -> Wire:
    await stage.keys_down(True)
    try:
        return await stage.ask.call("list_taxonomy", token=token)
    finally:
        await stage.keys_down(False)


async def _backend_locked(stage: Stage, token: str) -> Wire:
    await stage.behave(locked=True)
    try:
        return await stage.ask.call("list_taxonomy", token=token)
    finally:
        await stage.behave(locked=False)


async def _repeated(stage: Stage, token: str) -> Wire:
    """Call after a challenge with a newer token that still lacks the scope."""
    await stage.ask.call("reveal_contacts", _ONE_CONTACT, token=token)
    second = int(time.time())

    async def later() -> bool:  # `iat` has whole seconds
        return int(time.time()) > second

    await until("the next second", later)
    newer = await stage.token(client_id="reader", scopes=["stores:read"])
    return await stage.ask.call("reveal_contacts", _ONE_CONTACT, token=newer)


SCENES: Final[tuple[Scene, ...]] = (
    # gate 1
    Scene("A request that names no host", _E.REQUEST_MALFORMED, lambda s, t: s.ask.without_host()),
    Scene("Another Host name", _E.HOST_REFUSED, _list(headers={"Host": "other.example"})),
    Scene("A foreign web page", _E.ORIGIN_REFUSED, _list(headers={"Origin": "https://elsewhere.example"})),
    Scene("Another path", _E.PATH_UNKNOWN, _list(path="/elsewhere")),
    Scene("Another HTTP method", _E.HTTP_METHOD_REFUSED, _list(verb="PUT")),
    Scene("A client that accepts only HTML", _E.NOT_ACCEPTABLE, _list(headers={"Accept": "text/html"})),
    Scene("A body that is too large", _E.BODY_TOO_LARGE, _list(content=b" " * (65 << 10))),
    Scene("A body of another type", _E.MEDIA_TYPE_UNSUPPORTED, _list(headers={"Content-Type": "text/plain"})),
    # gate 2
    Scene(
        "A token that has expired",
        _E.TOKEN_INVALID,
        _list(),
        token={"iat": int(time.time()) - 7200, "lifetime": -3600},
    ),
    Scene(
        "A token of an unknown key while the issuer does not answer",
        _E.ISSUER_UNAVAILABLE,
        _keys_unavailable,
        token={"unpublished": True},
    ),
    # gate 3
    Scene("Half a JSON document", _E.MESSAGE_UNPARSABLE, _list(content=b'{"jsonrpc": "2.0",')),
    Scene("Another JSON-RPC", _E.MESSAGE_MALFORMED, _list(content=_VERSION_1)),
    Scene("No _meta", _E.PARAMS_MALFORMED, _list(meta=False)),
    Scene("A header that names another tool", _E.HEADER_MISMATCH, _list(headers={"Mcp-Name": "get_usage"})),
    Scene("A revision from the future", _E.VERSION_UNSUPPORTED, _list(revision="2099-01-01")),
    Scene(
        "Another client's session",
        _E.SESSION_UNKNOWN,
        _list(revision=Revision.V2025_11_25, headers={"Mcp-Session-Id": "not-mine"}),
    ),
    Scene(
        "A task of another client",
        _E.TASK_UNKNOWN,
        lambda s, t: s.ask.ask("tasks/get", {"taskId": "not-mine"}, token=t, revision=Revision.V2025_11_25),
    ),
    Scene(
        "A task request that does not declare the tasks extension",
        _E.CAPABILITY_MISSING,
        lambda s, t: s.ask.ask("tasks/get", {"taskId": "not-mine"}, token=t, headers={"Mcp-Name": "not-mine"}),
    ),
    # gate 4
    Scene(
        "A method that the policy does not declare",
        _E.METHOD_NOT_ALLOWED,
        lambda s, t: s.ask.ask("admin/reindex", token=t),
        status=404,
    ),
    Scene("A tool that the policy does not declare", _E.TOOL_UNKNOWN, _call("drop_tables")),
    Scene(
        "A tool whose definition is not the approved one",
        _E.TOOL_CHANGED,
        _call("enrich_shopify_domains", domains=["toys-1.example"]),
    ),
    Scene(
        "A resource that no pattern of the policy matches",
        _E.RESOURCE_UNKNOWN,
        lambda s, t: s.ask.ask("resources/read", {"uri": "file:///etc/passwd"}, token=t),
    ),
    Scene(
        "A prompt that the policy does not declare",
        _E.PROMPT_UNKNOWN,
        lambda s, t: s.ask.ask("prompts/get", {"name": "jailbreak"}, token=t),
    ),
    Scene(
        "A missing scope that another login did not add",
        _E.INSUFFICIENT_SCOPE,
        _repeated,
        status=200,
        token={"client_id": "reader", "scopes": ["stores:read"]},
    ),
    Scene("A limit beyond the schema", _E.ARGUMENTS_REFUSED, _call("search_shopify_stores", limit=1000)),
    # gates 5 and 6
    Scene("A client without an approval", _E.CONSENT_MISSING, _list(), token={"client_id": "stranger"}),
    Scene("An account that has no plan", _E.ACCOUNT_UNKNOWN, _list(), token={"subject": "noplan"}),
    Scene("An account that was disabled", _E.ACCOUNT_DISABLED, _list(), token={"subject": "dora"}),
    Scene("An account on a smaller plan", _E.PLAN_REQUIRED, _call("search_shopify_stores"), token={"subject": "fred"}),
    # behind the gates
    Scene("A backend that rejects the sidecar", _E.BACKEND_UNAVAILABLE, _backend_locked),
    Scene("A backend that takes too long", _E.BACKEND_TIMEOUT, _call("get_shopify_store", domain=SLOW_DOMAIN), calls=1),
    Scene(
        "An answer that is too large",
        _E.RESPONSE_TOO_LARGE,
        _call("get_shopify_store", domain=HUGE_DOMAIN),
        calls=1,
    ),
)


async def _play(story: Story) -> None:
    for words in SET_UP:
        await story.command(*words)
    for scene in SCENES:
        story.say(f"- {scene.title}")
        token = await story.stage.token(**(scene.token or {}))
        story.secrets.add(token)
        before = (await story.stage.received())["requests"]
        wire = await scene.play(story.stage, token)
        await story.check(wire, scene.code, status=scene.status, calls=scene.calls)
        came = (await story.stage.received())["requests"] - before
        expect(not came or scene.code.row.gate is Gate.FORWARD, "no request reaches the backend")
    await story.money()


STEPS: Final = (
    Step(
        "Further refusals, gate by gate",
        "Each names its code. Only the last three reach the backend; nothing is spent.",
        _play,
    ),
)
