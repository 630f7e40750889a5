"""`check` examines the store without writing: possible data loss is a warning, an unusable store is an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.store.connection.layout import LAYOUT_KEY
from tests.cli.support import POLICY, Run, write
from tests.support.certificates import Authority, refusing
from tests.support.store import StoreServer, free_port
from tests.support.topology import ClusterServers, SentinelServers


def check(run: Run, folder: Path, url: str) -> tuple[int, list[str]]:
    """Return the exit status and the messages about the store, which are the same as text and as JSON."""
    config = write(folder, store=url)
    text = run("check", "--config", config)
    document = run("check", "--config", config, "--format", "json")
    assert document.status == text.status
    if text.status == 0:
        warnings = [f"warning: {each['text']}" for each in document.json["warnings"]]
        assert text.err.splitlines() == warnings
        assert f"{config}: ok" in text.out
        return 0, [warning.removeprefix("warning: store: ") for warning in warnings]
    assert document.out == text.out == ""
    return text.status, text.err.splitlines()


def test_a_durable_store_has_no_warning(run: Run, tmp_path: Path, own_server: StoreServer):
    assert check(run, tmp_path, own_server.url) == (0, [])


def test_nothing_is_written_to_the_store(run: Run, tmp_path: Path, own_server: StoreServer):
    assert check(run, tmp_path, own_server.url) == (0, [])
    with own_server.client() as client:
        assert client.dbsize() == 0


def test_every_durability_risk_is_a_warning(run: Run, tmp_path: Path):
    server = StoreServer(options=("--maxmemory", "100mb", "--maxmemory-policy", "volatile-lru")).start()
    try:
        status, output = check(run, tmp_path, server.url)
    finally:
        server.close()
    assert status == 0
    assert [each.partition(" (")[0].partition(":")[0] for each in output] == [
        "keys that expire may be evicted",
        "the server has no append-only file",
    ]


def test_warnings_of_policy_and_store_are_both_printed(run: Run, tmp_path: Path, store_server: StoreServer):
    config = write(tmp_path, store=store_server.url, policy=POLICY + "consent: first_use\n")
    result = run("check", "--config", config)
    assert result.status == 0
    first, second = result.err.splitlines()
    assert "consent: first_use admits" in first
    assert second.startswith("warning: store: the server has no append-only file")


@pytest.mark.parametrize("url", ["unix:///nowhere/at.sock", "redis://user:hunter2@127.0.0.1:{}"])
def test_a_store_that_cannot_be_reached_is_a_warning(run: Run, tmp_path: Path, url: str):
    status, output = check(run, tmp_path, url.format(free_port()))
    assert status == 0
    assert len(output) == 1
    assert output[0].startswith("it is unreachable, so it was not examined: ")
    assert "hunter2" not in output[0]


def test_a_store_that_does_not_answer_is_a_warning(run: Run, tmp_path: Path, own_server: StoreServer):
    own_server.pause()
    try:
        status, output = check(run, tmp_path, own_server.url)
    finally:
        own_server.resume()
    assert (status, output) == (
        0,
        ["it is unreachable, so it was not examined: the store did not answer in time"],
    )


def test_a_store_that_may_evict_revocations_is_an_error(run: Run, tmp_path: Path):
    server = StoreServer(options=("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")).start()
    try:
        status, output = check(run, tmp_path, server.url)
    finally:
        server.close()
    assert (status, output) == (
        1,
        [
            "mcp-sidecar: store: the store may evict consents, revocations and balances "
            "(maxmemory-policy allkeys-lru): set maxmemory-policy noeviction"
        ],
    )


def test_a_store_that_is_not_trusted_is_an_error(run: Run, tmp_path: Path):
    mine, other = Authority(tmp_path), Authority(tmp_path, "other")
    with refusing(other.server(other.issue("store"))) as url:
        port = url.split(":")[2].partition("/")[0]
        status, output = check(run, tmp_path, f"rediss://user:hunter2@127.0.0.1:{port}?ca={mine.cert.name}")
    assert status == 1
    assert output[0].startswith("mcp-sidecar: store: the store cannot be trusted: its certificate is not trusted (")
    assert "hunter2" not in output[0]


def test_a_store_of_another_layout_is_an_error(run: Run, tmp_path: Path, store_server: StoreServer):
    with store_server.client() as client:
        client.set(LAYOUT_KEY, "9")
    status, output = check(run, tmp_path, store_server.url)
    assert status == 1
    assert "is version '9'" in output[0]


def test_a_password_from_the_environment_is_used_and_never_printed(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    server = StoreServer(options=("--requirepass", "hunter2")).start()
    try:
        url = f"unix://:${{STORE_PASSWORD}}@{server.path}"
        monkeypatch.setenv("STORE_PASSWORD", "hunter2")
        status, output = check(run, tmp_path, url)
        assert status == 0
        assert "hunter2" not in "".join(output)
        monkeypatch.setenv("STORE_PASSWORD", "hunter3")
        assert check(run, tmp_path, url) == (
            1,
            ["mcp-sidecar: store: WRONGPASS: user or password in store.url is wrong, or the user is disabled"],
        )
        status, output = check(run, tmp_path, server.url)
        assert (status, output) == (
            1,
            ["mcp-sidecar: store: NOAUTH: the server requires a password, and store.url has none"],
        )
    finally:
        server.close()


def test_an_embedded_store_is_not_started(run: Run, tmp_path: Path):
    assert check(run, tmp_path, "embedded") == (0, [])
    assert not (tmp_path / "var").exists()


def test_a_url_that_does_not_fit_its_server_is_an_error(run: Run, tmp_path: Path):
    """Waiting does not fix these faults, so a deployment with one must fail its check."""
    with SentinelServers(1) as group, ClusterServers(1) as cluster:
        primary, replica, sentinel = (each.port for each in (group.primary, group.replica, group.sentinels[0]))
        node, closed = cluster.nodes[0].port, free_port()
        wrong = {
            f"redis://127.0.0.1:{replica}": "the server is a replica",
            f"redis://127.0.0.1:{sentinel}": "the server is a sentinel",
            f"redis://127.0.0.1:{node}": "the server is a node of a cluster; the URL of a cluster starts with redis+cluster://",
            f"redis+sentinel://127.0.0.1:{sentinel}/other": "ERR No such master with that name",
            f"redis+sentinel://127.0.0.1:{closed},127.0.0.1:{primary}/accounts": "the server is a primary",
            f"redis+cluster://127.0.0.1:{primary}": "ERR This instance has cluster support disabled",
            f"redis+cluster://127.0.0.1:{sentinel}": "the server is a sentinel",
            f"redis+cluster://me:hunter2@127.0.0.1:{closed},127.0.0.1:{node}": "WRONGPASS",
        }
        for url, words in wrong.items():
            status, output = check(run, tmp_path, url)
            assert status == 1, url
            assert words in output[0]
            assert "hunter2" not in output[0]


@pytest.mark.parametrize("url", ["redis+sentinel://127.0.0.1:{}/accounts", "redis+cluster://127.0.0.1:{}"])
def test_several_unreachable_servers_are_a_warning(run: Run, tmp_path: Path, url: str):
    status, output = check(run, tmp_path, url.format(free_port()))
    assert status == 0
    assert output[0].startswith("it is unreachable, so it was not examined: ")
