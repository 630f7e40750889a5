"""The first hour of an operator with servers that this project did not write: five lines typed, none in a file.

From an empty folder: `init`, `check --live`, `try`, an allowed call and a refused one. `pytest -s` prints, per server,
the seconds and what a person must still decide; times are never asserted.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.clients.support import HERE
from tests.clients.test_everything import running
from tests.support.node import Ended, node, package, started
from tests.support.processes import wait_for
from tests.support.pypi import FASTMCP, MCP_PROXY, launched, program
from tests.support.rig import Reply
from tests.support.store import free_port
from tests.support.trying import trying

pytestmark = [pytest.mark.node, pytest.mark.process, pytest.mark.timeout(300)]  # a bridge starts Node for each request

Json = dict[str, Any]


@dataclass(slots=True)
class Operator:
    """A person at a shell in an empty folder.

    Attributes:
        typed: the lines typed so far.
    """

    folder: Path
    typed: list[str] = field(default_factory=list)

    async def run(self, line: str) -> Ended:
        """Run one line of mcp-sidecar."""
        name, *words = shlex.split(line)
        assert name == "mcp-sidecar"
        self.typed.append(line)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sidecar", *words),
            cwd=self.folder,
            env={"PATH": "/nonexistent", "PYTHONPATH": str(HERE.parents[1])},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode is not None
        return Ended(process.returncode, out.decode(), err.decode())

    def files(self) -> dict[str, str]:
        """The files of the folder."""
        return {str(path): path.read_text() for path in self.folder.rglob("*.yaml")}


# --- servers -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OthersServer:
    """A server as its documentation starts it.

    Attributes:
        start: gives its URL; the folder is for its files.
        tools: some that it has.
        answer: a text in the result of the allowed call.
    """

    start: Callable[[Path], AbstractAsyncContextManager[str]]
    tools: frozenset[str]
    answer: str


@asynccontextmanager
async def everything(_: Path) -> AsyncIterator[str]:
    async with running() as url:
        yield await listening(url)


@asynccontextmanager
async def filesystem_behind_supergateway(folder: Path) -> AsyncIterator[str]:
    port = free_port()
    stdio = shlex.join(
        map(str, (node(), package("@modelcontextprotocol/server-filesystem", "dist", "index.js"), folder))
    )
    words = ("--stdio", stdio, "--outputTransport", "streamableHttp", "--port", str(port))
    async with started(package("supergateway", "dist", "index.js"), *words):
        yield await listening(f"http://127.0.0.1:{port}/mcp")


@asynccontextmanager
async def memory_behind_mcp_proxy(folder: Path) -> AsyncIterator[str]:
    port = free_port()
    stdio = (node(), package("@modelcontextprotocol/server-memory", "dist", "index.js"))
    async with launched(program(MCP_PROXY, "mcp-proxy"), "--port", str(port), "--", *stdio, log=folder / "log"):
        yield await listening(f"http://127.0.0.1:{port}/mcp")


@asynccontextmanager
async def fastmcp(folder: Path) -> AsyncIterator[str]:
    port = free_port()
    async with launched(program(FASTMCP, "python"), HERE / "servers" / "notes.py", str(port), log=folder / "log"):
        yield await listening(f"http://127.0.0.1:{port}/mcp")


async def listening(url: str) -> str:
    """Wait until the server accepts connections."""
    port = int(url.partition("127.0.0.1:")[2].partition("/")[0])
    async with asyncio.timeout(60):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return url


SERVERS = [
    pytest.param(OthersServer(everything, frozenset({"echo", "get-sum"}), ""), id="server-everything"),
    pytest.param(
        OthersServer(
            filesystem_behind_supergateway, frozenset({"read_text_file", "write_file"}), "Allowed directories"
        ),
        id="server-filesystem-supergateway",
    ),
    pytest.param(
        OthersServer(memory_behind_mcp_proxy, frozenset({"read_graph", "delete_entities"}), "entities"),
        id="server-memory-mcp-proxy",
        marks=pytest.mark.pypi(MCP_PROXY),
    ),
    pytest.param(
        OthersServer(fastmcp, frozenset({"find_notes", "delete_note"}), ""),
        id="fastmcp",
        marks=pytest.mark.pypi(FASTMCP),
    ),
]


# --- the hour ------------------------------------------------------------------------------------


@pytest.mark.parametrize("server", SERVERS)
async def test_five_lines_lead_from_an_empty_folder_to_a_policed_server(server: OthersServer, tmp_path: Path):
    home, files = tmp_path / "home", tmp_path / "server"
    home.mkdir()
    files.mkdir()
    operator = Operator(home)
    async with server.start(files) as url:
        began = time.monotonic()
        decide = await the_scaffold_is_valid_and_fits(operator, url, server)
        scaffolded = time.monotonic()
        port = str(free_port())  # tests run at the same time
        operator.typed.append(f"mcp-sidecar try --backend {url} --port {port}")
        async with trying(home, url, "--port", port) as trial:
            started_at = time.monotonic()
            assert trial.document, await trial.said("mcp-sidecar")
            operator.typed += [trial.document["allowed"], trial.document["refused"]]
            await one_call_passes_and_one_is_refused(trial, server, files)
            done = time.monotonic()
    assert trial.status == 0, trial.errors
    assert len(operator.typed) == 5
    seconds = f"{scaffolded - began:.1f} + {started_at - scaffolded:.1f} + {done - started_at:.1f} s"
    print(f"\n{seconds} (init and check, try, two calls), {len(operator.typed)} commands, 0 lines, {decide} to decide")


async def the_scaffold_is_valid_and_fits(operator: Operator, url: str, server: OthersServer) -> int:
    """Write the files and check them as they are; the number of lines that a person must decide."""
    made = await operator.run(
        f"mcp-sidecar init --backend {url} --resource https://mcp.example.com/mcp --issuer https://example.com/api/auth"
    )
    assert made.status == 0, made
    written = operator.files()
    checked = await operator.run("mcp-sidecar check --live")
    assert (checked.status, checked.stdout.splitlines()[-1]) == (0, "  live      as the backend lists"), checked
    assert server.tools <= set(checked.stdout.partition("  tools     ")[2].partition("\n")[0].split(", "))
    assert operator.files() == written
    assert os.listdir(operator.folder / "policies")
    return sum(text.count("# DECIDE") for text in written.values())


async def one_call_passes_and_one_is_refused(trial: Any, server: OthersServer, files: Path) -> None:
    made, before = trial.document, os.listdir(files)
    allowed, refused = await trial.curl(made["allowed"]), await trial.curl(made["refused"])
    assert allowed.status == 200
    result = message_of(allowed)["result"]
    assert not result.get("isError"), result
    assert server.answer in json.dumps(result["content"])
    assert (refused.status, refused.code) == (200, made["code"])
    assert os.listdir(files) == before
    wanted = {allowed.headers["X-Request-Id"]: "ok", refused.headers["X-Request-Id"]: made["code"]}
    await wait_for(lambda: wanted.items() <= codes_in(Path(made["log"])).items())  # lines come in any order


def codes_in(log: Path) -> dict[str, str]:
    """Codes of the calls in a log, by request; its last line may be incomplete."""
    lines = [json.loads(line) for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return {line["request_id"]: line["code"] for line in lines if line["event"] == "call"}


def message_of(reply: Reply) -> Json:
    """The response, in either form of answer."""
    streamed = reply.headers.get("Content-Type", "").startswith("text/event-stream")
    found: Json = reply.events[-1] if streamed else reply.json
    return found
