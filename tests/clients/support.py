"""Shared parts of the clients' tests: servers to put behind the sidecar, and a policy that allows all they offer."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from demo.backend import serving
from tests.clients.servers.chatter import Chatter
from tests.support.node import run_script, started
from tests.support.rig import MODERN

Json = dict[str, Any]

HERE: Final = Path(__file__).parent
TOOLS: Final = (
    "echo",
    "route",
    "fail",
    "steps",
    "proceed",
    "ask",
    "sample",
    "tell",
    "change",
    "touch",
    "wait",
    "seen",
    "drop",
)
ALLOW_ALL: Final[Json] = {
    "scopes": {},
    "consent": "first_use",
    "tools": {tool: {"scopes": []} for tool in TOOLS},
    "resources": {"docs://*": {"scopes": []}},
    "prompts": {"greeting": {"scopes": []}},
    "methods": {
        method: {"scopes": []} for method in ("completion/complete", "logging/setLevel", "subscriptions/listen")
    },
}


# --- servers -------------------------------------------------------------------------------------


@asynccontextmanager
async def node_server(script: str, *words: str) -> AsyncIterator[str]:
    """A server of `servers/` in a process of its own; gives its URL."""
    async with started(HERE / "servers" / script, *words) as process:
        assert process.stdout is not None
        url = (await process.stdout.readline()).decode().strip()
        assert url.startswith("http://"), await process.stderr.read() if process.stderr else url
        yield url


@dataclass(frozen=True, slots=True)
class ServerKind:
    """A server made with an official SDK.

    Attributes:
        name: for the tests' names.
        eras: what it speaks: `legacy`, `2026-07-28`.
        sessions: whether its older revisions have sessions, GET streams and a way back to the client.
        resumable: whether a client that lost a stream can come back for the rest.
        streaming: whether it says something before the result.
    """

    name: str
    eras: frozenset[str]
    sessions: bool = False
    resumable: bool = False
    streaming: bool = True
    script: str | None = None
    words: tuple[str, ...] = ()

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        """Run it; gives its URL."""
        if self.script is not None:
            async with node_server(self.script, *self.words) as url:
                yield url
        else:
            chatter = Chatter(
                stateless="stateless" in self.words,
                resumable="resumable" in self.words,
                json_response="json" in self.words,
            )
            async with serving(chatter) as url:
                yield url


BOTH: Final = frozenset({"legacy", MODERN})
LEGACY_ONLY: Final = frozenset({"legacy"})
SERVERS: Final = (
    ServerKind("python", BOTH, sessions=True, resumable=True, words=("resumable",)),
    ServerKind("python-stateless", BOTH, words=("stateless",)),
    ServerKind("python-json", BOTH, sessions=True, streaming=False, words=("json",)),
    ServerKind("typescript-v1", LEGACY_ONLY, sessions=True, resumable=True, script="v1.mjs"),
    ServerKind("typescript-v1-json", LEGACY_ONLY, sessions=True, streaming=False, script="v1.mjs", words=("json",)),
    ServerKind("typescript-v2", BOTH, script="v2.mjs"),
    ServerKind("typescript-v2-strict", frozenset({MODERN}), script="v2.mjs", words=("strict", "sse")),
)


# --- what clients do -----------------------------------------------------------------------------


def steps_for(server: ServerKind, era: str) -> list[str]:
    """The steps of a tour that this server can take in this era."""
    chosen = ["tools", "echo", "route", "fail", "resources", "prompts", "completion"]
    if server.streaming:
        chosen += ["steps"]
    if era == MODERN:
        # Cancelling is leaving, which a server that sees only whole answers does not notice.
        return [*chosen, "ask", "updates", *(["cancel"] if server.streaming else [])]
    if server.sessions:
        chosen += ["ping", "change", "cancel"]
    if server.sessions and server.streaming:
        chosen += ["ask", "sample"]
    if server.sessions and server.script is not None:
        # Which the Python SDK's high-level server does not have.
        chosen += ["updates", *(["logging"] if server.streaming else [])]
    if server.resumable:
        chosen += ["resume"]
    return [*chosen, "end"] if server.sessions else chosen


async def node_tour(
    script: str, targets: list[tuple[str, Mapping[str, str]]], mode: str, steps: list[str]
) -> list[Json]:
    """The tour with a TypeScript client, at one target after the other; what was found at each."""
    wanted = {"targets": [{"url": url, "headers": headers} for url, headers in targets], "mode": mode, "steps": steps}
    ended = await run_script(HERE / "tours" / script, json.dumps(wanted, default=dict))
    found: list[Json] = ended.json
    assert len(found) == len(targets)
    return found
