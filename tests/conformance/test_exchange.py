"""A client that cannot see whom it talks to hears the same from the server and from the sidecar before it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.conformance.columns import bare, behind
from tests.conformance.exchange import OLDEST, Heard, Talk, modern, opened, until_status
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

Script = Callable[[aiohttp.ClientSession, str], Awaitable[Talk]]


# --- 2026-07-28 ----------------------------------------------------------------------------------


async def lists(http: aiohttp.ClientSession, url: str) -> Talk:
    talk = modern(http, url)
    await talk.ask("server/discover")
    for method in LISTS:
        await talk.ask(method)
    return talk


async def contents(http: aiohttp.ClientSession, url: str) -> Talk:
    talk = modern(http, url)
    for tool, arguments in PLAIN.items():
        await talk.call(tool, arguments)
    await talk.call("test_tool_with_progress", _meta={"progressToken": "p"})
    await talk.call("test_logging_tool", _meta={"io.modelcontextprotocol/logLevel": "info"})
    await talk.ask("tools/call", {"Mcp-Param-Region": "eu"}, name="test_x_mcp_header", arguments={"region": "eu"})
    await talk.ask("tools/call", name="greet", arguments={})
    return talk


async def data(http: aiohttp.ClientSession, url: str) -> Talk:
    talk = modern(http, url)
    for uri in URIS:
        await talk.ask("resources/read", uri=uri)
    for prompt, arguments in PROMPTS.items():
        await talk.ask("prompts/get", name=prompt, arguments=arguments)
    ref = {"type": "ref/prompt", "name": "test_prompt_with_arguments"}
    await talk.ask("completion/complete", ref=ref, argument={"name": "arg1", "value": "test"})
    template = {"type": "ref/resource", "uri": "test://template/{id}/data"}
    await talk.ask("completion/complete", ref=template, argument={"name": "id", "value": "a"})
    return talk


async def rounds(http: aiohttp.ClientSession, url: str) -> Talk:
    talk = modern(http, url, **ALL)
    tool = "test_input_required_result_multi_round"
    first = await talk.call(tool)
    step1 = {"step1": {"action": "accept", "content": {"name": "Ada"}}}
    second = await talk.call(tool, inputResponses=step1, requestState=first["requestState"])
    step2 = {"step2": {"action": "accept", "content": {"color": "blue"}}}
    last = await talk.call(tool, inputResponses=step2, requestState=second["requestState"])
    assert last["content"][0]["text"] == "Ada likes blue."
    await talk.ask("tools/call", name=tool, arguments={}, inputResponses=step1, requestState="forged")
    for other in ("sampling", "list_roots", "multiple_inputs", "capabilities"):
        await talk.call(f"test_input_required_result_{other}")
    asked = await talk.ask("prompts/get", name="test_input_required_result_prompt")
    about = {"user_context": {"action": "accept", "content": {"context": "tests"}}}
    assert "requestState" not in asked["result"]
    await talk.ask("prompts/get", name="test_input_required_result_prompt", inputResponses=about)
    return talk


async def listening(http: aiohttp.ClientSession, url: str) -> Talk:
    talk, other = modern(http, url), modern(http, url)
    filters = {"toolsListChanged": True, "resourceSubscriptions": [WATCHED]}
    async with talk.stream("subscriptions/listen", notifications=filters) as stream:
        acknowledged = await stream.message()
        for tool in ("test_trigger_prompt_change", "test_trigger_tool_change", "change_watched_resource"):
            await other.call(tool)
        talk.note("listen", stream, acknowledged, await stream.message(), await stream.message())
    talk.heard += other.heard
    return talk


async def tasks(http: aiohttp.ClientSession, url: str) -> Talk:
    talk = modern(http, url, **TASKS, **ALL)
    for tool, arguments in (("slow_compute", {"seconds": 0}), ("failing_job", {}), ("protocol_error_job", {})):
        made = await talk.call(tool, arguments)
        await until_status(talk, made["taskId"], "completed", "failed")
        await talk.ask("tasks/cancel", taskId=made["taskId"])
    made = await talk.call("confirm_delete", {"filename": "a.txt"})
    asked = await until_status(talk, made["taskId"], "input_required")
    answers = {key: {"action": "accept", "content": {"confirm": True}} for key in asked["inputRequests"]}
    await talk.ask("tasks/update", taskId=made["taskId"], inputResponses=answers)
    await until_status(talk, made["taskId"], "completed")
    made = await talk.call("slow_compute", {"seconds": 60})
    await talk.ask("tasks/cancel", taskId=made["taskId"])
    await talk.ask("tasks/get", taskId=made["taskId"])
    return talk


# --- the older revisions -------------------------------------------------------------------------


async def session(http: aiohttp.ClientSession, url: str, revision: str = LEGACY) -> Talk:
    talk = await opened(http, url, revision, **ALL)
    await talk.ask("ping")
    for method in LISTS:
        await talk.ask(method)
    for tool, arguments in PLAIN.items():
        await talk.call(tool, arguments)
    await talk.call("test_tool_with_progress", _meta={"progressToken": 7})
    await talk.ask("tools/call", name="greet", arguments={})
    for uri in URIS:
        await talk.ask("resources/read", uri=uri)
    await talk.ask("resources/subscribe", uri=WATCHED)
    await talk.ask("resources/unsubscribe", uri=WATCHED)
    for prompt, arguments in PROMPTS.items():
        await talk.ask("prompts/get", name=prompt, arguments=arguments)
    await talk.ask("logging/setLevel", level="debug")
    await talk.call("test_tool_with_logging")
    ref = {"type": "ref/prompt", "name": "test_prompt_with_arguments"}
    await talk.ask("completion/complete", ref=ref, argument={"name": "arg1", "value": "p"})
    gone = talk.headers({})
    await talk.send("DELETE", "DELETE", gone)
    await talk.send("after DELETE", "POST", {**gone, **JSON}, PING)
    return talk


async def session_of_2025_06_18(http: aiohttp.ClientSession, url: str) -> Talk:
    return await session(http, url, "2025-06-18")


async def session_of_2025_03_26(http: aiohttp.ClientSession, url: str) -> Talk:
    return await session(http, url, OLDEST)


async def questions(http: aiohttp.ClientSession, url: str) -> Talk:
    """The server asks on the call's stream, the client answers with a POST of its own."""
    talk = await opened(http, url, **ALL)
    content = {"username": "ada", "email": "ada@example.com"}
    said = {"role": "assistant", "content": {"type": "text", "text": "Yes."}, "model": "none"}
    for tool, arguments, answer in (
        ("test_elicitation", {"message": "Who?"}, {"action": "accept", "content": content}),
        ("test_elicitation", {"message": "Who?"}, {"action": "decline"}),
        ("test_sampling", {"prompt": "Say yes."}, said),
    ):
        async with talk.stream("tools/call", name=tool, arguments=arguments) as stream:
            asked = await stream.message()
            assert asked is not None
            await talk.tell({"jsonrpc": "2.0", "id": asked["id"], "result": answer})
            talk.note(tool, stream, asked, await stream.message(), await stream.message())
    return talk


async def own_stream(http: aiohttp.ClientSession, url: str) -> Talk:
    """The server's own stream, beside the calls."""
    talk = await opened(http, url)
    async with talk.stream() as stream:
        await talk.call("change_watched_resource")
        talk.note("GET", stream, await stream.message())
    return talk


async def resumed(http: aiohttp.ClientSession, url: str) -> Talk:
    """A call's stream ends early, and the rest is asked for by the last event's id."""
    talk = await opened(http, url)
    last = ""
    async with talk.stream("tools/call", name="test_reconnection", arguments={}) as stream:
        while (said := await stream.event()) is not None:
            last = said.fields.pop("id")
            talk.note("the first part", stream, said.fields, said.message)
    async with talk.stream(headers={"Last-Event-ID": last}) as stream:
        talk.note("the rest", stream, await stream.message(), await stream.message())
    return talk


async def refusals(http: aiohttp.ClientSession, url: str) -> Talk:
    """What neither of them takes."""
    talk = modern(http, url)
    discover = json.dumps(talk.message("server/discover", {})).encode()
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
        ("a session of nobody", "POST", {**older, "Mcp-Session-Id": "nobodys"}, PING),
        ("a stream without a session", "GET", {**older, **stream}, None),
        ("a stream of nobody", "GET", {**older, **stream, "Mcp-Session-Id": "nobodys"}, None),
        ("the end of nobody", "DELETE", {**older, "Mcp-Session-Id": "nobodys"}, None),
        ("another revision", "POST", {**older, "MCP-Protocol-Version": "2020-01-01"}, PING),
    ):
        await talk.send(what, verb, headers, body)
    assert {heard.status // 100 for heard in talk.heard} == {4}
    for method in ("initialize", "ping", "resources/subscribe", "tasks/list", "no/such"):
        answer = await talk.ask(method)
        talk.heard[-1].messages[:] = [answer["error"]["code"]]
    return talk


SCRIPTS = (
    *(lists, contents, data, rounds, listening, tasks),
    *(session, session_of_2025_06_18, session_of_2025_03_26, questions, own_stream, resumed),
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
async def test_the_same_is_heard_from_both(columns: tuple[str, str], script: Script):
    heard: list[list[Heard]] = []
    for url in columns:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
            heard.append((await script(http, url)).heard)
    server, sidecar = heard
    for said, relayed in zip(server, sidecar, strict=True):
        assert relayed == said
