"""`try` in front of a server: the printed calls do what they say, and all of it ends with the process."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.backend import Backend
from tests.support.store import free_port
from tests.support.trying import running_in, trying

pytestmark = pytest.mark.process


def refuses(url: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", urlsplit(url).port or 0)) != 0


async def test_the_printed_calls_reach_the_server_or_are_refused(tmp_path: Path):
    """One process for the whole story, and one that goes on with its files."""
    folder, port = tmp_path / "d", free_port()
    async with Backend() as backend:
        async with trying(tmp_path, backend.url, "--directory", "d", "--port", str(port)) as trial:
            made = trial.document
            assert (made["resource"], backend.executed) == (f"http://127.0.0.1:{port}/mcp", [])
            allowed, refused = await trial.curl(made["allowed"]), await trial.curl(made["refused"])
            assert (allowed.status, allowed.code, len(backend.executed)) == (200, None, 1)
            assert (refused.status, refused.code, len(backend.executed)) == (200, made["code"], 1)
            listed = (await trial.curl(made["list"])).json["result"]["tools"]
            assert len(listed) == made["tools"] > 0
            narrow = await trial.curl(made["allowed"], await trial.token(scope=""))
            assert (narrow.status, narrow.code, len(backend.executed)) == (403, "insufficient_scope", 1)
            async with trying(tmp_path, backend.url, "--directory", "d") as second:
                assert second.document == {}
            assert f"port {port} or port " in second.errors, second.errors
            assert "Address already in use; use another --port or folder" in second.errors
            await an_edited_policy_is_loaded_by_a_hangup(trial, folder)
            assert made["token"] not in "".join(path.read_text() for path in folder.glob("*.log"))
            assert [oct((folder / name).stat().st_mode & 0o777) for name in ("token", "headers")] == ["0o600"] * 2
        assert (trial.status, running_in(folder)) == (0, []), trial.errors
        assert refuses(made["resource"])
        assert refuses(made["issuer"])
        async with trying(tmp_path, backend.url, "--directory", "d") as again:
            assert {name: again.document[name] for name in ("resource", "issuer", "tools")} == {
                **{name: made[name] for name in ("resource", "issuer")},
                "tools": made["tools"] - 1,
            }
    assert again.status == 0
    lines = (folder / "issuer.log").read_text().splitlines()
    assert lines
    assert all(line.startswith("trial issuer, never for production: ") for line in lines)


async def an_edited_policy_is_loaded_by_a_hangup(trial, folder):
    [policy] = (folder / "policies").glob("*.yaml")
    before = policy.read_text()
    policy.write_text(before + "\nwrong: key\n")
    trial.process.send_signal(signal.SIGHUP)
    assert "not reloaded" in await trial.said("reloaded")
    start = before.index("  list_taxonomy:\n")
    head, _, tests = before.partition("\ntests:")
    kept = head[:start] + head[head.index("  get_shopify_store:\n") :]
    assert tests
    policy.write_text(kept)
    trial.process.send_signal(signal.SIGHUP)
    assert "not reloaded" not in await trial.said("reloaded")


def written_in(folder: Path) -> str:
    return "".join(path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file())


async def test_credentials_of_the_server_are_in_no_file_and_without_a_directory_nothing_is_left(tmp_path: Path):
    (tmp_path / "key").write_text("hunter2\n")
    words = ("--header", "X-Api-Key: hunter3", "--token-file", "key")
    async with Backend() as backend, trying(tmp_path, backend.url, *words) as trial:
        await trial.curl(trial.document["allowed"])
        sent = {(each.header("x-api-key"), each.header("authorization")) for each in [*backend.own, *backend.received]}
        assert sent == {("hunter3", "Bearer hunter2")}
        folder = Path(trial.document["config"]).parent
        assert "hunter" not in written_in(folder)
        assert (folder.exists(), len(running_in(folder))) == (True, 1)  # its store
        await trial.end(signal.SIGTERM)
    assert (trial.status, folder.exists(), running_in(folder), os.listdir(tmp_path)) == (0, False, [], ["key"])
