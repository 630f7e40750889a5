"""Notifications of changed lists: to callers that see a difference, on the streams that asked for them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sidecar.model import Call, Caller, CallKind, Revision
from sidecar.proxy.relay.list_changes import ACKNOWLEDGED, ListChanges, VisibleLists
from sidecar.store.commands.keys import account_keys
from tests.policy import support as policies
from tests.proxy.support import Launch, policy
from tests.support.backend import Backend, Turn
from tests.support.open_streams import relayed
from tests.support.rig import LEGACY, MODERN, Json, Rig, Stream

LISTEN = "subscriptions/listen"
TAG = "io.modelcontextprotocol/subscriptionId"
EVERY = {"toolsListChanged": True, "resourcesListChanged": True, "promptsListChanged": True}
CALLER = Caller("main", "https://issuer", "ada", "ada", "cli-1", frozenset({"read"}), 0, 0)

# --- what a caller sees --------------------------------------------------------------------------

BASE = """
scopes: {read: Read., write: Write.}
default_plan: free
plans: {free: {tools: [a], resources: ["docs://*"], prompts: [p]}, paid: {}}
tools: {a: {scopes: [read]}, b: {scopes: [write], arguments: {properties: {n: {type: integer, maximum: 5}}}}}
resources: {"docs://*": {scopes: [read]}, "docs://x/*": {scopes: [read]}}
prompts: {p: {scopes: [read]}, q: {scopes: [read]}}
"""
HIDES = "listing: {missing_scope: hide}\n"


def lists(text: str = BASE) -> VisibleLists:
    return VisibleLists(policies.policy(text))


def get(session: str | None = "s") -> Call:
    return Call(CallKind.STREAM, Revision.V2025_11_25, "", None, {}, session=session)


def listen(wanted: Json, id_: int | str = 7) -> Call:
    return Call(CallKind.REQUEST, Revision.V2026_07_28, LISTEN, id_, {"notifications": wanted})


def messages(changes: ListChanges) -> list[Json]:
    data = changes.take().decode()
    return [json.loads(line.removeprefix("data: ")) for line in data.splitlines() if line.startswith("data: ")]


def noticed(before: str, after: str, plan: str = "free", now: str | None = None) -> list[str]:
    """The lists that a GET stream is notified of."""
    changes = ListChanges(get(), CALLER, lists(before), plan, None)
    changes.update(lists(after), now or plan)
    return [message["method"].split("/")[1] for message in messages(changes)]


CASES: dict[str, tuple[str, str, str, str, list[str]]] = {
    "nothing": (BASE, BASE, "free", "free", []),
    "another plan": (BASE, BASE, "free", "paid", ["tools", "resources", "prompts"]),
    "a tool of another plan": (BASE, BASE.replace("maximum: 5", "maximum: 6"), "free", "free", []),
    "a tool of this plan": (BASE, BASE.replace("maximum: 5", "maximum: 6"), "paid", "paid", ["tools"]),
    "a price": (BASE, BASE.replace("a: {scopes: [read]}", "a: {scopes: [read], timeout: 5s}"), "paid", "paid", []),
    "a prompt": (BASE, BASE.replace("q: {", "r: {"), "paid", "paid", ["prompts"]),
    "a narrower resource": (BASE, BASE.replace("docs://x/*", "docs://y/*"), "paid", "paid", ["resources"]),
    "scopes of a shown tool": (BASE, BASE.replace("[write]", "[read]"), "paid", "paid", []),
    "scopes of a hidden tool": (BASE + HIDES, (BASE + HIDES).replace("[write]", "[read]"), "paid", "paid", ["tools"]),
    "the listing": (BASE, BASE + HIDES, "paid", "paid", ["tools"]),
    "an unknown plan": (BASE, BASE, "paid", "gone", ["tools", "resources", "prompts"]),
}


@pytest.mark.parametrize(("before", "after", "plan", "now", "expected"), CASES.values(), ids=CASES)
def test_a_caller_is_notified_of_lists_that_look_different(
    before: str, after: str, plan: str, now: str, expected: list[str]
):
    assert noticed(before, after, plan, now) == expected


def test_a_change_is_announced_once_and_a_change_back_again():
    one, two = lists(), lists(BASE.replace("q: {", "r: {"))
    changes = ListChanges(get(), CALLER, one, "paid", None)
    for other in (two, one):
        assert changes.update(other, "paid")
        assert messages(changes) == [{"jsonrpc": "2.0", "method": "notifications/prompts/list_changed"}]
        assert not changes.update(other, "paid")
        assert not changes.take()


def test_the_scopes_of_the_consent_count():
    hidden = lists(BASE + HIDES)
    wide = Caller("main", "https://issuer", "ada", "ada", "cli-1", frozenset({"read", "write"}), 0, 0)
    assert hidden.seen_by("paid", hidden.policy.effective(wide.scopes, ["read"])) is hidden.seen_by(
        "paid", frozenset({"read"})
    )


def test_a_subscription_gets_what_it_asked_for_once_acknowledged_with_its_id():
    changes = ListChanges(
        listen({"promptsListChanged": True, "toolsListChanged": False}), CALLER, lists(), "free", None
    )
    assert changes.update(lists(), "paid")
    assert not messages(changes), "it is not acknowledged"
    sent = {"jsonrpc": "2.0", "method": ACKNOWLEDGED, "params": {"notifications": {"x": 1}, "_meta": {TAG: 7}}}
    assert changes.acknowledged(sent)["params"] == {
        "notifications": {"x": 1, "promptsListChanged": True},
        "_meta": {TAG: 7},
    }
    expected = {"jsonrpc": "2.0", "method": "notifications/prompts/list_changed", "params": {"_meta": {TAG: 7}}}
    assert messages(changes) == [expected]


@pytest.mark.parametrize("wanted", [{}, {"toolsListChanged": 1}, {"toolsListChanged": "true"}, {"tools": True}])
def test_a_subscription_that_asks_for_nothing_gets_nothing(wanted: Json):
    changes = ListChanges(listen(wanted), CALLER, lists(), "free", None)
    sent = {"jsonrpc": "2.0", "method": ACKNOWLEDGED, "params": {"notifications": {}}}
    assert changes.acknowledged(sent) is sent
    assert not changes.update(lists(), "paid")


@pytest.mark.parametrize("params", [None, {}, {"notifications": None}, {"notifications": EVERY}, []])
def test_an_acknowledgement_is_left_alone_where_nothing_can_be_added(params: Any):
    changes = ListChanges(listen(EVERY), CALLER, lists(), "free", None)
    sent = {"jsonrpc": "2.0", "method": ACKNOWLEDGED, "params": params}
    assert changes.acknowledged(sent) is sent


def test_a_stream_that_replays_a_call_and_a_section_that_is_not_served_get_nothing():
    assert not ListChanges(get(), CALLER, lists(), "free", None, replays=True).sections
    text = "scopes: {read: Read.}\ntools: {a: {scopes: [read]}}"
    assert ListChanges(get(), CALLER, lists(text), None, None).sections == {"tools"}


def test_the_memory_of_plans_and_scopes_is_bounded():
    known = lists(BASE + HIDES)
    for number in range(3000):
        known.seen_by(f"plan-{number}", frozenset({f"scope-{number}"}))
    assert len(known._known) <= 1024


# --- on streams ----------------------------------------------------------------------------------

POLICY = policy(
    plans={"free": {"tools": ["get_usage", "list_taxonomy"]}, "growth": {}},
    methods={LISTEN: {"scopes": ["stores:read"]}},
)
CHANGED = {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}


@pytest.fixture
async def rig(launch: Launch) -> Rig:
    rig = await launch(policy=POLICY, scripted=Backend(sessions=True))
    rig.backend.on(LISTEN, listens)
    return rig


async def listens(turn: Turn) -> None:
    """Acknowledge nothing: this backend's lists never change."""
    await turn.open_stream()
    acknowledged = {"notifications": {}, "_meta": {TAG: turn.request.message["id"]}}
    await turn.event({"jsonrpc": "2.0", "method": ACKNOWLEDGED, "params": acknowledged})
    turn.backend.streams.append(turn)
    await turn.hang_up()
    turn.backend.streams.remove(turn)


@asynccontextmanager
async def listening(rig: Rig, wanted: Json, id_: int | str) -> AsyncIterator[Stream]:
    message = rig.message(LISTEN, {"notifications": wanted}, id_=id_)
    async with rig.http.post(rig.url, json=message, headers=rig.request_headers(message, MODERN, "")) as answer:
        try:
            yield Stream(answer)
        finally:
            answer.close()


async def reload(rig: Rig, **changes: Any) -> None:
    (rig.config.parent / "policy.yaml").write_text(json.dumps({**POLICY, **changes}))
    assert await rig.sidecar.reload()


async def test_a_get_stream_is_notified_of_a_reload(rig: Rig):
    async with rig.stream(session=await rig.session()) as stream:
        await relayed(rig, 1)
        await reload(rig, manage_url="https://example.com/other")
        await reload(rig, tools={**POLICY["tools"], "more": {"scopes": ["stores:read"]}})
        assert await stream.message() == CHANGED
        turn = rig.backend.streams[0]
        await turn.event({"jsonrpc": "2.0", "method": "notifications/message", "params": {}})
        message = await stream.message()
        assert message is not None
        assert message["method"] == "notifications/message", "each change is announced once"


async def test_a_get_stream_is_notified_of_a_plan_that_is_written_directly(rig: Rig):
    async with rig.stream(session=await rig.session()) as stream:
        await relayed(rig, 1)
        with rig.redis() as client:
            client.hset(account_keys("main", "ada").account, "plan", "free")
        assert await stream.message() == CHANGED


async def test_of_two_streams_of_a_session_one_is_notified(rig: Rig):
    """2025-11-25, transports: a message must not be sent on more than one stream of a session."""
    session = await rig.session()
    async with rig.stream(session=session) as first, rig.stream(session=session) as second:
        await relayed(rig, 2)
        await reload(rig, tools={**POLICY["tools"], "more": {"scopes": ["stores:read"]}})
        received = [asyncio.create_task(stream.message()) for stream in (first, second)]
        done, waiting = await asyncio.wait(received, return_when=asyncio.FIRST_COMPLETED)
        assert [task.result() for task in done] == [CHANGED]
        for turn in list(rig.backend.streams):
            await turn.event({"jsonrpc": "2.0", "method": "notifications/message", "params": {}})
        (other,) = [await task for task in waiting]
        assert other is not None
        assert other["method"] == "notifications/message"


async def test_subscriptions_are_notified_under_their_own_id(rig: Rig):
    async with (
        listening(rig, {"toolsListChanged": True}, "sub-a") as one,
        listening(rig, {"toolsListChanged": True}, 42) as two,
        listening(rig, {"promptsListChanged": True}, 43) as other,
    ):
        for stream, honored in ((one, {"toolsListChanged": True}), (two, {"toolsListChanged": True}), (other, {})):
            message = await stream.message()
            assert message is not None
            assert (message["method"], message["params"]["notifications"]) == (ACKNOWLEDGED, honored)
        await relayed(rig, 3)
        await rig.account(plan="free")
        for stream, id_ in ((one, "sub-a"), (two, 42)):
            assert await stream.message() == {**CHANGED, "params": {"_meta": {TAG: id_}}}
        await rig.revoke()
        assert await other.message() is None, "it asked for something else"


async def announced(rig: Rig, revision: str) -> Json:
    reply = await (rig.initialize() if revision == LEGACY else rig.post("server/discover"))
    return dict(reply.json["result"]["capabilities"]["tools"])


async def test_changes_are_announced_where_a_stream_can_carry_them(rig: Rig):
    assert await announced(rig, LEGACY) == {"listChanged": True}
    assert await announced(rig, MODERN) == {"listChanged": True}
    await reload(rig, methods={})
    assert await announced(rig, MODERN) == {}


async def test_changes_are_not_announced_once_the_backend_is_known_to_have_no_stream(launch: Launch):
    rig = await launch(policy=POLICY)
    assert (await rig.get()).status == 405
    assert await announced(rig, LEGACY) == {}
    assert await announced(rig, MODERN) == {"listChanged": True}
