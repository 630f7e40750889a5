"""`init`: files for a live backend of either era that `check` accepts, and a diff where files exist."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from sidecar.cli import main
from sidecar.mcp_client.conversation import MAX_BYTES
from tests.cli.support import Result
from tests.support import backend as scripted
from tests.support.backend import Backend, Behaviour, Json

Init = Callable[..., Awaitable[Result]]
CAPABILITIES: Json = {"tools": {}, "resources": {}, "prompts": {}, "completions": {}}
HOSTILE = [
    {"name": name, "description": "x\ny: [", "inputSchema": {"type": "object", "properties": {"on": {}, "{": {}}}}
    for name in ("on", "null", "{", "a\x1b[2J", "Delete", "delete", "delete", "\N{FULLWIDTH LATIN SMALL LETTER D}elete")
]


@pytest.fixture
def init(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Init:
    """Run `init` in a thread, for a backend of this event loop; the folder is `tmp_path / "out"`."""

    async def run_init(backend: Backend | str, *words: object, command: str = "init") -> Result:
        url = backend if isinstance(backend, str) else backend.url
        line = ["--backend", url, "--resource", "https://mcp.example.com/mcp", "--issuer", "https://example.com/auth"]
        where = [*line, tmp_path / "out"] if command == "init" else ["--config", tmp_path / "out" / "config.yaml"]
        capsys.readouterr()
        status = await asyncio.to_thread(main, [command, *map(str, [*where, *words])])
        return Result(status, *capsys.readouterr())

    return run_init


def listing(*tools: Json) -> Behaviour:
    return scripted.result({"tools": list(tools)})


def announcing(backend: Backend, **lists: Behaviour) -> Backend:
    """A backend of 2026-07-28 that announces every list, and these answers."""
    served = {"supportedVersions": ["2026-07-28"], "capabilities": CAPABILITIES}
    meta = {"_meta": {"io.modelcontextprotocol/serverInfo": {"name": "shop", "version": "1"}}}
    backend.on("server/discover", scripted.result({**served, **meta}))
    for method, behaviour in lists.items():
        backend.on(method, behaviour)
    return backend


def legacy(backend: Backend) -> Backend:
    """A backend of the older revisions with sessions, whose lists come as event streams in pages."""
    backend.on("server/discover", scripted.http(404))
    backend.sessions = True

    async def pages(turn: scripted.Turn) -> None:
        second = "cursor" in turn.request.message["params"]
        tools = [{"name": "two" if second else "one"}]
        await turn.open_stream()
        await turn.event({"jsonrpc": "2.0", "method": "notifications/message", "params": {}})
        await turn.event(turn.response({"result": {"tools": tools, **({} if second else {"nextCursor": "2"})}}))
        await turn.end_stream()

    backend.on("tools/list", pages)
    return backend


async def test_the_files_of_a_modern_backend_pass_check(init: Init, tmp_path: Path):
    async with announcing(Backend()) as backend:
        backend.on("resources/list", scripted.result({"resources": [{"uri": "docs://a"}]}))
        backend.on("resources/templates/list", scripted.result({"resourceTemplates": [{"uriTemplate": "shop://{id}"}]}))
        backend.on("prompts/list", scripted.result({"prompts": [{"name": "greet"}]}))
        result = await init(backend)
        checked = await init(backend, "--live", command="check")
    assert (result.status, result.err.count("note: ")) == (0, result.err.count("\n"))
    assert [line.split()[0] for line in result.out.splitlines()] == ["found", *["wrote"] * 4, "scopes", "decide"]
    written = [path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*")]
    assert sorted(written) == [
        *("config.yaml", "policies/shop.yaml", "schemas/config.schema.json", "schemas/policy.schema.json"),
    ]
    assert (checked.status, "as the backend lists" in checked.out) == (0, True), checked.err
    for name in ("config.yaml", "policies/shop.yaml"):
        path = tmp_path / "out" / name
        schema = path.read_text().splitlines()[0].removeprefix("# yaml-language-server: $schema=")
        assert json.loads((path.parent / schema).read_text())["title"]
    assert all("params" in each.message and "_meta" in each.message["params"] for each in backend.own)
    assert {each.message["method"] for each in backend.own} & {"tools/call", "prompts/get", "resources/read"} == set()


async def test_a_backend_of_the_older_revisions_is_read_page_by_page_and_its_session_ended(init: Init):
    async with legacy(Backend()) as backend:
        result = await init(backend, "--format", "json")
    document = json.loads(result.out)
    assert (result.status, document["ok"], document["scopes"]) == (0, True, ["scripted:write"])
    assert [each.method for each in backend.own][-1] == "DELETE"
    assert len({each.header("mcp-session-id") for each in backend.own[2:]}) == 1


async def test_headers_reach_the_backend_and_no_file(init: Init, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    token = tmp_path / "token"
    token.write_text("hunter2\n")
    async with Backend() as backend:
        result = await init(backend, "--header", "X-Api-Key: hunter3", "--token-file", token)
        assert result.status == 0, result.err
        assert {(each.header("x-api-key"), each.header("authorization")) for each in backend.own} == {
            ("hunter3", "Bearer hunter2")
        }
        monkeypatch.setenv("BACKEND_X_API_KEY", "hunter3")
        assert (await init(backend, command="check")).status == 0
    assert "BACKEND_X_API_KEY" in result.out
    everything = result.out + result.err + "".join(path.read_text() for path in (tmp_path / "out").rglob("*.*"))
    assert "hunter" not in everything


async def test_a_second_run_shows_a_diff_and_overwrites_nothing(init: Init, tmp_path: Path):
    async with Backend() as backend:
        await init(backend)
        again = await init(backend)
        assert (again.status, again.out.count("\n")) == (0, 1)
        policy = tmp_path / "out/policies/scripted.yaml"
        policy.write_text(policy.read_text().replace("consent: first_use", "consent: required"))
        before = policy.read_text()
        backend.on("tools/list", listing({"name": "search"}))
        result = await init(backend)
        document = json.loads((await init(backend, "--format", "json")).out)
    assert result.status == 1
    assert policy.read_text() == before
    assert "-consent: required\n+consent: first_use\n" in result.out
    assert "+  search:\n" in result.out
    assert "-  list_taxonomy:\n" in result.out
    assert (document["ok"], list(document["differs"]), document["written"]) == (False, [str(policy)], [])


async def test_hostile_lists_break_no_file_and_each_entry_is_reported(init: Init, tmp_path: Path):
    async with announcing(Backend()) as backend:
        backend.on("tools/list", listing(*HOSTILE))
        backend.on("resources/list", scripted.rpc_error())
        backend.on("prompts/list", scripted.result({"prompts": [{"name": "a\nb"}, {"name": "on"}, {}]}))
        result = await init(backend)
        checked = await init(backend, "--format", "json", command="check")
    assert (result.status, checked.status) == (0, 0), result.err
    assert json.loads(checked.out)["tools"] == ["on", "null", "Delete", "delete"]
    assert json.loads(checked.out)["prompts"] == ["on"]
    assert result.err.isascii()
    assert "\x1b" not in result.err
    for said in (
        *("tool '{' is left out", "tool 'a\\x1b[2J' is left out", "tool '\\uff44elete' is left out"),
        *("tool 'delete' is listed twice", "tools 'Delete' and 'delete' differ", "prompt 'a\\nb' is left out"),
        *("an entry without name is left out", "resources/list could not be read: the backend answered"),
    ):
        assert said in result.err, said


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        (
            scripted.http(401),
            "answered initialize with 401; the backend wants credentials: use --header or --token-file",
        ),
        (scripted.http(307), "answered initialize with 307; it redirects: use the final URL"),
        (scripted.http(404), "answered initialize with 404; the path may be wrong: most servers use /mcp"),
        (scripted.http(200, b"{}"), "the backend's response has no usable id; is the backend running"),
        (scripted.http(200, b"[" * 5000), "nested more than 64 levels deep"),
        (scripted.reset(), "; is the backend running, and is this its MCP endpoint?"),
    ],
    ids=["401", "307", "404", "no response", "nested", "reset"],
)
async def test_a_backend_that_cannot_be_read_is_1_and_says_what_to_do(
    init: Init, tmp_path: Path, behaviour: Behaviour, said: str
):
    async with Backend() as backend:
        backend.on("server/discover", behaviour)
        backend.on("initialize", behaviour)
        result = await init(backend)
    assert (result.status, result.out) == (1, "")
    assert result.err.startswith(f"mcp-sidecar: {backend.url}: ")
    assert said in result.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("tools", "said"),
    [
        ({"tools": [], "nextCursor": "same"}, "nextCursor is not usable"),
        ({"tools": {}}, "has no list of tools"),
        ({"tools": [], "x": "x" * MAX_BYTES}, "bytes"),
    ],
    ids=["pages without end", "no list", "too large"],
)
async def test_a_list_of_tools_that_cannot_be_read_whole_is_1(init: Init, tmp_path: Path, tools: Json, said: str):
    async with Backend() as backend:
        backend.on("tools/list", scripted.result(tools))
        result = await init(backend)
    assert (result.status, said in result.err) == (1, True), result.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["--header", "no colon"],
        ["--header", "a: b\nc: d"],
        ["--resource", "nowhere"],
        ["--issuer", "http://example.com"],
        ["--backend", "ftp://example.com"],
    ],
)
async def test_a_wrong_command_line_is_2_and_sends_nothing(init: Init, tmp_path: Path, words: list[str]):
    async with Backend() as backend:
        result = await init(backend, *words)
    assert (result.status, backend.own, (tmp_path / "out").exists()) == (2, [], False)


async def test_a_token_file_that_holds_no_token_is_1(init: Init, tmp_path: Path):
    (tmp_path / "token").write_text("two words")
    result = await init("http://127.0.0.1:1/mcp", "--token-file", tmp_path / "token")
    assert (result.status, "two words" in result.err) == (1, False)
