"""The examples with a sidecar whose store is a cluster, or a primary that sentinels know."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.cli import main
from tests.examples.programs import LANGUAGES, program
from tests.support.topology import ClusterServers, SentinelServers


@pytest.fixture(scope="module", params=[ClusterServers, SentinelServers])
def servers(request: pytest.FixtureRequest) -> Iterator[ClusterServers | SentinelServers]:
    with request.param() as running:
        yield running


@pytest.mark.parametrize("language", LANGUAGES)
async def test_commands_read_the_records_of_the_examples(
    servers: ClusterServers | SentinelServers, tmp_path: Path, language: str, capsys: pytest.CaptureFixture[str]
):
    config = tmp_path / "config.yaml"
    policy = tmp_path / "policy.yaml"
    policy.write_text("credits: {contact: One each.}\nplans: {growth: {}}\nempty: true\n")
    config.write_text(
        "resource: http://127.0.0.1:8080/mcp\nbackend: {url: 'http://127.0.0.1:9/mcp'}\n"
        f"issuers: [{{issuer: 'http://127.0.0.1:9'}}]\nstore: {{url: '{servers.url}'}}\npolicies: [policy.yaml]\n"
    )

    async def command(*words: str) -> str:
        capsys.readouterr()
        assert await asyncio.to_thread(main, [*words, "--config", str(config)]) == 0
        return capsys.readouterr().out

    run = program(language, tmp_path, servers.url)
    await command("account", "set", "ada", "--status", "active", "--create")
    balance = json.loads(await command("credits", "show", "ada", "--format", "json"))["contact"]["balance"]
    for _ in range(2):
        granted = await run("grant", "contact", 100, f"order-{language}")
        assert granted == (0, {"code": "done", "balance": balance + 100, "included": 0})
    assert (await run("spend", "contact", 1, f"reveal-{language}"))[1]["balance"] == balance + 99
    assert await run("plan", "growth") == (0, {"code": "done"})
    assert await run("consent", "granted", "ada", "cli-1") == (0, {"code": "done"})
    assert "growth" in await command("account", "show", "ada")
    assert "cli-1" in await command("consent", "list", "ada")
    await command("usage", "ada", "--verify")
