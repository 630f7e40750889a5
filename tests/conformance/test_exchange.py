"""A client receives the same from the server and from the sidecar in front of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.conformance.columns import bare, behind
from tests.conformance.exchange import OLDEST, RecordedAnswer, RecordingClient, modern, opened, until_status
from tests.conformance.server.contents import WATCHED
from tests.support.rig import LEGACY

TASKS: dict[str, Any] = {"extensions": {"io.modelcontextprotocol/tasks": {}}}
ALL: dict[str, Any] = {"elicitation": {}, "sampling": {}, "roots": {}}
LISTS = ("tools/list", "resources/list", "resources/templates/list", "prompts/list")
URIS = ("test://static-text", "test://static-binary", "test://template/7/data", WATCHED, "test://nothing")
PROMPTS: dict[str, dict[str, str]] = {
    "test_simple_prompt": {},
    "test_prompt_with_arguments": {"arg1": "a", "arg2": "ü\u2028"},
    "test_prompt_with_embedded_resource": {"resourceUri": "test://static-text"},
    "test_prompt_with_image": {},
}
PLAIN: dict[str, dict[str, Any]] = {
    "test_simple_text": {},
    "test_image_content": {},
    "test_audio_content": {},
    "test_embedded_resource": {},
    "test_multiple_content_types": {},
    "test_error_handling": {},
    "greet": {"name": "Zoë \U0001f600"},
    "json_schema_2020_12_tool": {},
    "test_tool_with_progress": {},
}

JSON = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
PING = b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}'

Script = Callable[[aiohttp.ClientSession, str], Awaitable[RecordingClient]]


# --- 2026-07-28 ----------------------------------------------------------------------------------


async def lists(http: aiohttp.ClientSession, url: str) -> RecordingClient:
    client = modern(http, url)
    await client.request("server/discover")
    for method in LISTS:
        await client.request(method)
    return client


async def contents(http: aiohttp.ClientSession, url: str) -> RecordingClient:
    client = modern(http, url)
    for tool, arguments in PLAIN.items():
        await client.call(tool, arguments)
    await client.call("test_tool_with_progress", _meta={"progressToken": "p"})
    await client.call("test_logging_tool", _meta={"io.modelcontextprotocol/logLevel": "info"})
    await client.request("tools/call", {"Mcp-Param-Region": "eu"}, name="test_x_mcp_header", arguments={"region": "eu"})
    await client.request("tools/call", name="greet", arguments={})
    return client


async def data(http: aiohttp.ClientSession, url: str) -> RecordingClient:
    client = modern(http, url)
    for uri in URIS:
        await client.request("resources/read", uri=uri)
    for prompt, arguments in PROMPTS.items():
        await client.request("prompts/get", name=prompt, arguments=arguments)
    ref = {"type": "ref/prompt", "name": "test_prompt_with_arguments"}
    await client.request("completion/complete", ref=ref, argument={"name": "arg1", "value": "test"})
    template = {"type": "ref/resource", "uri": "test://template/{id}/data"}
    await client.request("completion/complete", ref=template, argument={"name": "id", "value": "a"})
    return client


async def input_required(http: aiohttp.ClientSession, url: str) -> RecordingClient:
    client = modern(http, url, **ALL)
    tool = "test_input_required_result_multi_round"
    first = await client.call(tool)
    step1 = {"step1": {"action": "accept", "content": {"name": "Ada"}}}
    second = await client.call(tool, inputResponses=step1, requestState=first["requestState"])
    step2 = {"step2": {"action": "accept", "content": {"color": "blue"}}}
    last = await client.call(tool, inputResponses=step2, requestState=second["requestState"])
    assert last["content"][0]["text"] == "Ada likes blue."
    await client.request("tools/call", name=tool, arguments={}, inputResponses=step1, requestState="forged")
    for other in ("sampling", "list_roots", "multiple_inputs", "capabilities"):
        await client.call(f"test_input_required_result_{other}")
    asked = await client.request("prompts/get", name="test_input_required_result_prompt")
    about = {"user_context": {"action": "accept", "content": {"context": "tests"}}}
    assert "requestState" not in asked["result"]
    await client.request("prompts/get", name="test_input_required_result_prompt", inputResponses=about)
    return client


async def listening(http: aiohttp.ClientSession, url: str) -> RecordingClient:
    client, other = modern(http, url), modern(http, url)
    filters = {"toolsListChanged": True, "resourceSubscriptions": [WATCHED]}
    async with client.stream("subscriptions/listen", notifications=filters) as stream:
        acknowledged = await stream.message()
        for tool in ("test_trigger_prompt_change", "test_trigger_tool_change", "change_watched_resource"):
            await other.call(tool)
        client.record("listen", stream, acknowledged, await stream.message(), await stream.message())
    client.answers += other.answers
    return client


async def tasks(http: aiohttp.ClientSession, url: str) -> RecordingClient:
    client = modern(http, url, **TASKS, **ALL)
    for tool, arguments in (("slow_compute", {"seconds": 0}), ("failing_job", {}), ("protocol_error_job", {})):
        made = await client.call(tool, arguments)
        await until_status(client, made["taskId"], "completed", "failed")
        await client.request("tasks/cancel", taskId=made["taskId"])
    made = await client.call("confirm_delete", {"filename": "a.txt"})
    asked = await until_status(client, made["taskId"], "input_required")
    answers = {key: {"action": "accept", "content": {"confirm": True}} for key in asked["inputRequests"]}
    await client.request("tasks/update", taskId=made["taskId"], inputResponses=answers)
    await until_status(client, made["taskId"], "completed")
    made = await client.call("slow_compute", {"seconds": 60})
    await client.request("tasks/cancel", taskId=made["taskId"])
    await client.request("tasks/get", taskId=made["taskId"])
    return client


# --- the older revisions -------------------------------------------------------------------------


async def session(http: aiohttp.ClientSession, url: str, revision: str = LEGACY) -> RecordingClient:
    client = await opened(http, url, revision, **ALL)
    await client.request("ping")
    for method in LISTS:
        await client.request(method)
    for tool, arguments in PLAIN.items():
        await client.call(tool, arguments)
    await client.call("test_tool_with_progress", _meta={"progressToken": 7})
    await client.request("tools/call", name="greet", arguments={})
    for uri in URIS:
        await client.request("resources/read", uri=uri)
    await client.request("resources/subscribe", uri=WATCHED)
    await client.request("resources/unsubscribe", uri=WATCHED)
    for prompt, arguments in PROMPTS.items():
        await client.request("prompts/get", name=prompt, arguments=arguments)
    await client.request("logging/setLevel", level="debug")
    await client.call("test_tool_with_logging")
    ref = {"type": "ref/prompt", "name": "test_prompt_with_arguments"}
    await client.request("completion/complete", ref=ref, argument={"name": "arg1", "value": "p"})
    gone = client.headers({})
    await client.send("DELETE", "DELETE", gone)
    await client.send("after DELETE", "POST", {**gone, **JSON}, PING)
    return client


async def session_of_2025_06_18(http: aiohttp.ClientSession, url: str) -> RecordingClient:
    return await session(http, url, "2025-06-18")


async def session_of_2025_03_26(http: aiohttp.ClientSession, url: str) -> RecordingClient:
    return await session(http, url, OLDEST)


async def questions(http: aiohttp.ClientSession, url: str) -> RecordingClient:
    """The server sends a request on the call's stream; the client responds in a separate POST."""
    client = await opened(http, url, **ALL)
    content = {"username": "ada", "email": "ada@example.com"}
    sampled = {"role": "assistant", "content": {"type": "text", "text": "Yes."}, "model": "none"}
    for tool, arguments, answer in (
        ("test_elicitation", {"message": "Who?"}, {"action": "accept", "content": content}),
        ("test_elicitation", {"message": "Who?"}, {"action": "decline"}),
        ("test_sampling", {"prompt": "Say yes."}, sampled),
    ):
        async with client.stream("tools/call", name=tool, arguments=arguments) as stream:
            asked = await stream.message()
            assert asked is not None
            await client.notify({"jsonrpc": "2.0", "id": asked["id"], "result": answer})
            client.record(tool, stream, asked, await stream.message(), await stream.message())
    return client


async def get_stream(http: aiohttp.ClientSession, url: str) -> RecordingClient:
    """The server sends notifications on the GET stream, in parallel to calls."""
    client = await opened(http, url)
    async with client.stream() as stream:
        await client.call("change_watched_resource")
        client.record("GET", stream, await stream.message())
    return client


async def resumed(http: aiohttp.ClientSession, url: str) -> RecordingClient:
    """A call's stream ends early; the client resumes it with the last event's id."""
    client = await opened(http, url)
    last = ""
    async with client.stream("tools/call", name="test_reconnection", arguments={}) as stream:
        while (event := await stream.event()) is not None:
            last = event.fields.pop("id")
            client.record("the first part", stream, event.fields, event.message)
    async with client.stream(headers={"Last-Event-ID": last}) as stream:
        client.record("the rest", stream, await stream.message(), await stream.message())
    return client


async def refusals(http: aiohttp.ClientSession, url: str) -> RecordingClient:
    """Requests that server and sidecar reject: every status is 4xx, and JSON-RPC errors have the same code."""
    client = modern(http, url)
    discover = json.dumps(client.message("server/discover", {})).encode()
    newest = {**JSON, "MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "server/discover"}
    older = {**JSON, "MCP-Protocol-Version": "2025-11-25"}
    stream = {"Accept": "text/event-stream"}
    for what, verb, headers, body in (
        ("GET where there are no streams", "GET", {**newest, **stream}, None),
        ("DELETE where there are no sessions", "DELETE", newest, None),
        ("another verb", "PUT", newest, discover),
        ("no JSON accepted", "POST", {**newest, **stream}, discover),
        ("no JSON", "POST", newest, b"{"),
        ("a batch", "POST", newest, b"[" + discover + b"]"),
        ("a response", "POST", newest, b'{"jsonrpc": "2.0", "id": 1, "result": {}}'),
        ("no id", "POST", newest, discover.replace(b'"id": 1', b'"id": null')),
        ("no header for the version", "POST", JSON, discover),
        ("no header for the method", "POST", {**newest, "Mcp-Method": ""}, discover),
        ("another header for the version", "POST", {**newest, "MCP-Protocol-Version": "2027-01-01"}, discover),
        ("no session", "POST", older, PING),
        ("an unknown session", "POST", {**older, "Mcp-Session-Id": "unknown"}, PING),
        ("a stream without a session", "GET", {**older, **stream}, None),
        ("a stream of an unknown session", "GET", {**older, **stream, "Mcp-Session-Id": "unknown"}, None),
        ("the end of an unknown session", "DELETE", {**older, "Mcp-Session-Id": "unknown"}, None),
        ("another revision", "POST", {**older, "MCP-Protocol-Version": "2020-01-01"}, PING),
    ):
        await client.send(what, verb, headers, body)
    assert {answer.status // 100 for answer in client.answers} == {4}
    for method in ("initialize", "ping", "resources/subscribe", "tasks/list", "no/such"):
        answer = await client.request(method)
        client.answers[-1].messages[:] = [answer["error"]["code"]]
    return client


SCRIPTS = (
    *(lists, contents, data, input_required, listening, tasks),
    *(session, session_of_2025_06_18, session_of_2025_03_26, questions, get_stream, resumed),
    refusals,
)


# --- both columns --------------------------------------------------------------------------------


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def columns(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[str, str]]:
    folder: Path = tmp_path_factory.mktemp("sidecar")
    async with bare() as server, behind(folder) as guarded:
        yield server, guarded


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
async def test_a_client_receives_the_same_with_and_without_the_sidecar(columns: tuple[str, str], script: Script):
    recorded: list[list[RecordedAnswer]] = []
    for url in columns:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
            recorded.append((await script(http, url)).answers)
    direct, proxied = recorded
    for expected, relayed in zip(direct, proxied, strict=True):
        assert comparable(relayed) == comparable(expected)


def comparable(answer: RecordedAnswer) -> RecordedAnswer:
    return replace(answer, messages=without_list_changed(answer.messages))


def without_list_changed(messages: Any) -> Any:
    """Remove the capability that the sidecar decides: it notifies of lists that its own policy changes."""
    if isinstance(messages, dict):
        return {name: without_list_changed(each) for name, each in messages.items() if name != "listChanged"}
    return [without_list_changed(each) for each in messages] if isinstance(messages, list) else messages
