"""Every official client gets the same results from a bare server and from one behind the sidecar.

All of them send forged headers with every request; what reached the server behind the sidecar is looked at whole.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.clients.arrived import Disguise, check_arrived, spoken
from tests.clients.support import ALLOW_ALL, SERVERS, ServerKind, node_tour, steps_for
from tests.clients.tours import python
from tests.support.recorder import Recorder
from tests.support.rig import LEGACY, MODERN, Rig, rig
from tests.support.store import StoreServer

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ClientKind:
    """An official client and its mode: `legacy`, `auto` or one revision."""

    name: str
    mode: str
    script: str | None = None

    @property
    def preferred(self) -> str:
        return MODERN if self.mode in ("auto", MODERN) else "legacy"

    def revision(self, era: str) -> str:
        """The revision that it agrees on, in an era."""
        if era == MODERN:
            return MODERN
        return self.mode if self.mode in OLDER else LEGACY

    def era_with(self, server: ServerKind) -> str | None:
        """Revision that both negotiate; None if there is none."""
        if self.preferred in server.eras:
            return self.preferred
        return "legacy" if self.mode == "auto" and "legacy" in server.eras else None

    async def tour(self, targets: list[tuple[str, Mapping[str, str]]], steps: list[str]) -> list[Json]:
        if self.script is not None:
            return await node_tour(self.script, targets, self.mode, steps)
        steps = [step for step in steps if step != "end"]  # it ends its session whenever it leaves
        return [await python.tour(url, headers, self.mode, steps) for url, headers in targets]


OLDER = ("2025-03-26", "2025-06-18")
CLIENTS = (
    ClientKind("python-legacy", "legacy"),
    ClientKind("python-modern", MODERN),
    ClientKind("python-auto", "auto"),
    ClientKind("typescript-v1", "legacy", "v1.mjs"),
    ClientKind("typescript-v2-legacy", "legacy", "v2.mjs"),
    ClientKind("typescript-v2-modern", MODERN, "v2.mjs"),
    ClientKind("typescript-v2-auto", "auto", "v2.mjs"),
    *(ClientKind(f"typescript-v2-{revision}", revision, "v2.mjs") for revision in OLDER),
)
PAIRS = [
    pytest.param(
        client,
        server,
        id=f"{client.name} at {server.name}",
        marks=[pytest.mark.node] if client.script or server.script else [],
    )
    for client in CLIENTS
    for server in SERVERS
    if client.era_with(server)
]


@asynccontextmanager
async def stage(folder: Path, store: StoreServer, server: ServerKind) -> AsyncIterator[tuple[Rig, Recorder, Recorder]]:
    """A server, recorded twice: as a bare one, and behind a sidecar that allows everything."""
    async with (
        server.serve() as url,
        Recorder(url) as bare,
        Recorder(url) as behind,
        rig(folder, store, policy=ALLOW_ALL, backend_url=behind.url, shutdown_grace="100ms") as built,
    ):
        yield built, bare, behind


@pytest.mark.parametrize(("client", "server"), PAIRS)
async def test_a_client_sees_the_same_with_and_without_the_sidecar(
    client: ClientKind, server: ServerKind, tmp_path: Path, store_server: StoreServer
):
    era = client.era_with(server)
    assert era is not None
    disguise = Disguise.make()
    async with stage(tmp_path, store_server, server) as (built, bare, behind):
        token = built.issuer.mint()
        targets = [
            (bare.url, disguise.headers),
            (built.url, {**disguise.headers, "Authorization": f"Bearer {token}"}),
        ]
        alone, policed = await client.tour(targets, steps_for(server, era))
        assert without_list_changed(policed) == without_list_changed(alone)
        assert alone["connected"]["era"] == client.revision(era)
        assert not {name for name, found in alone.items() if isinstance(found, dict) and "failed" in found}, alone
        assert all(each["same"] for each in alone["echo"])
        requests = await behind.requests()
        check_arrived(requests, token, disguise.mark, revision=client.revision(era))
        assert spoken(requests) == spoken(await bare.requests())
        # The last step is about a session that is gone.
        refused = {line["code"] for line in built.calls if line["gate"] is not None}
        assert refused <= {"session_unknown"}, built.calls


def without_list_changed(found: Any) -> Any:
    """Remove the capability that the sidecar decides: it notifies of lists that its own policy changes."""
    if isinstance(found, dict):
        return {name: without_list_changed(each) for name, each in found.items() if name != "listChanged"}
    return [without_list_changed(each) for each in found] if isinstance(found, list) else found
