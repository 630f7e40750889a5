"""Workers of one crew that all die: one of them is started soon, however long its pause is."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from sidecar.config.settings.addresses import Address
from sidecar.observe.logs import Lines
from sidecar.runtime.workers.back_off import BackOff
from sidecar.runtime.workers.crew import Crew
from sidecar.runtime.workers.shared_listeners import SharedListeners
from sidecar.runtime.workers.worker_metrics import CombinedMetrics
from sidecar.workbench.loading import load
from tests.support.issuer import Signer
from tests.support.processes import wait_for

HOUR = 3600.0
CONFIG = """\
resource: https://mcp.example.com/mcp
listen: 127.0.0.1:0
backend: {url: "http://127.0.0.1:9/mcp"}
issuers: [{issuer: "https://example.com", jwks: {file: keys.json}}]
store: {url: "redis://127.0.0.1:9"}
policies: policy.yaml
"""
pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]


class LongBackOff(BackOff):
    """Pause for an hour after every death."""

    def pause(self, served: float) -> float:
        return HOUR


async def test_while_no_worker_serves_one_is_started_before_its_pause_ends(tmp_path: Path):
    (tmp_path / "config.yaml").write_text(CONFIG)
    (tmp_path / "policy.yaml").write_text("tools: {search: {scopes: []}}\n")
    keys, log = tmp_path / "keys.json", tmp_path / "log.jsonl"
    keys.write_text(json.dumps({"keys": [Signer().jwk]}))
    loaded = load(tmp_path / "config.yaml")
    keys.unlink()  # so that each worker ends at its start

    def ended() -> list[dict[str, Any]]:
        lines.flush()
        return [each for each in map(json.loads, log.read_text().splitlines()) if each["event"] == "worker_ended"]

    with log.open("wb") as file:
        lines = Lines(fd=file.fileno())
        sockets = await SharedListeners.open([Address("127.0.0.1", 0)], 2)
        crew = Crew(
            tmp_path / "config.yaml", loaded, sockets, CombinedMetrics(), lines, lease_margin=60.0, back_off=LongBackOff
        )
        crew.start()
        watching = asyncio.create_task(crew.watch())
        try:
            await wait_for(lambda: len(ended()) >= 5, within=120)
        finally:
            watching.cancel()
            await crew.drain(0.0)
        assert {each["restart_in"] for each in ended()} == {HOUR}
        assert {each["worker"] for each in ended()} == {0, 1}
