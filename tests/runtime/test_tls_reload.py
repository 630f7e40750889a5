"""Certificates in force: what a look at the files changes, and what it leaves alone."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sidecar.config.documents.merging import Document, parse
from sidecar.config.settings.settings import Settings, settings_of
from sidecar.observe.logs import Lines
from sidecar.observe.metrics import Metrics
from sidecar.runtime.watches.tls_reload import Certificates, ListenerContext, backend_pool
from sidecar.workbench.tls_check import Tls, read_tls
from tests.support.certificates import Authority, Pair, replace
from tests.support.rig import Json


@dataclass
class Watched:
    """Certificates of both sides, as a sidecar has them."""

    settings: Settings
    document: Document
    folder: Path
    certificates: Certificates
    metrics: Metrics
    log: Path

    lines: Lines

    def load(self) -> Tls:
        tls, problems = read_tls(self.settings, self.document, self.folder)
        assert not problems
        return tls

    @property
    def listener(self) -> ssl.SSLContext:
        [context] = self.certificates.listeners
        assert context is not None
        return context.current

    def events(self, name: str) -> list[Json]:
        self.lines.flush()
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [line for line in lines if line["event"] == name]

    def ends(self, side: str) -> float | None:
        return self.metrics.registry.get_sample_value(
            "mcp_sidecar_certificate_expiry_timestamp_seconds", {"side": side}
        )


@pytest.fixture
def watched(tmp_path: Path, authority: Authority, pair: Pair, mine: Pair) -> Iterator[Watched]:
    document = parse(
        "config.yaml",
        json.dumps(
            {
                "resource": "https://mcp.example.com/mcp",
                "listen": {"address": "127.0.0.1:1", "tls": pair.files},
                "backend": {"url": "https://127.0.0.1:2/mcp", "tls": {"ca": str(authority.cert), **mine.files}},
                "issuers": [{"issuer": "https://example.com"}],
            }
        ),
    )
    settings = settings_of(document, tmp_path)
    tls, problems = read_tls(settings, document, tmp_path)
    assert not problems
    metrics = Metrics()
    with (tmp_path / "log").open("ab") as log:
        lines = Lines(fd=log.fileno())
        certificates = Certificates(settings, tls, backend_pool(settings, tls), metrics, lines)
        yield Watched(settings, document, tmp_path, certificates, metrics, tmp_path / "log", lines)
        lines.flush()


async def test_files_that_stay_are_left_alone(watched: Watched, pair: Pair, mine: Pair):
    before = watched.listener
    await watched.certificates.check()
    assert watched.listener is before
    assert watched.certificates.valid
    assert (watched.ends("listen"), watched.ends("backend")) == (pair.ends, mine.ends)
    assert watched.log.read_text() == ""


async def test_either_side_is_renewed_by_itself(watched: Watched, authority: Authority, pair: Pair, mine: Pair):
    before = watched.listener
    mine.become(authority.issue("other", days=40))
    await watched.certificates.check()
    assert [line["side"] for line in watched.events("certificate_renewed")] == ["backend"]
    assert watched.listener is before
    assert watched.ends("backend") == mine.ends
    pair.become(authority.issue("another", days=50))
    await watched.certificates.check()
    assert [line["side"] for line in watched.events("certificate_renewed")] == ["backend", "listen"]
    assert watched.listener is not before
    assert watched.ends("listen") == pair.ends


async def test_a_renewal_seen_between_its_two_files_is_none_that_failed(
    watched: Watched, authority: Authority, pair: Pair
):
    other = authority.issue("other")
    before = watched.listener
    replace(pair.cert, other.cert.read_bytes())
    await watched.certificates.check()
    assert watched.listener is before
    replace(pair.key, other.key.read_bytes())
    await watched.certificates.check()
    assert watched.listener is not before
    assert watched.events("certificate_rejected") == []
    assert len(watched.events("certificate_renewed")) == 1


async def test_a_pair_that_stays_broken_is_reported_once_and_may_recover(
    watched: Watched, authority: Authority, pair: Pair
):
    before, good = watched.listener, pair.cert.read_bytes()
    pair.cert.write_bytes(good[: len(good) // 2])
    for _ in range(4):
        await watched.certificates.check()
    (line,) = watched.events("certificate_rejected")
    assert (line["file"], line["problem"]) == (str(pair.cert), "cert: no certificate can be read from it")
    assert not watched.certificates.valid
    assert watched.listener is before
    replace(pair.cert, good)
    await watched.certificates.check()
    assert watched.certificates.valid
    assert len(watched.events("certificate_renewed")) == 1


async def test_files_that_are_gone_keep_what_was_in_them(watched: Watched, mine: Pair, pair: Pair):
    for file in (pair.cert, pair.key, mine.key):
        file.unlink()
    before = watched.listener
    await watched.certificates.check()
    await watched.certificates.check()
    reported = {(line["side"], line["file"]) for line in watched.events("certificate_rejected")}
    assert reported == {("listen", str(pair.cert)), ("listen", str(pair.key)), ("backend", str(mine.key))}
    assert watched.listener is before
    assert watched.ends("listen") is not None


async def test_what_is_wrong_is_reported_again_when_it_is_something_else(
    watched: Watched, authority: Authority, pair: Pair
):
    good = pair.key.read_bytes()
    for wrong in (b"", authority.issue("other").key.read_bytes(), good[:80]):
        pair.key.write_bytes(wrong)
        for _ in range(3):
            await watched.certificates.check()
        assert not watched.certificates.valid
    assert [line["problem"] for line in watched.events("certificate_rejected")] == [
        "key: no private key can be read from it",
        "key: it does not match the certificate in `cert`",
        "key: no private key can be read from it",
    ]


async def test_a_file_that_could_not_be_opened_is_tried_again(watched: Watched, authority: Authority, pair: Pair):
    """Nothing about the file changes when a process has descriptors again."""
    pair.become(authority.issue("other"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    await asyncio.to_thread(int)  # the thread that reads exists
    gc.collect()  # nothing is to be closed in the meantime
    taken = os.open(os.devnull, os.O_RDONLY)
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken + 1, hard))
    try:
        await watched.certificates.check()
        await watched.certificates.check()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        os.close(taken)
    problems = {line["problem"] for line in watched.events("certificate_rejected")}
    assert problems == {"cert: cannot be read (Too many open files)", "key: cannot be read (Too many open files)"}
    await watched.certificates.check()
    assert watched.certificates.valid
    assert len(watched.events("certificate_renewed")) == 1


async def test_a_reload_clears_what_was_refused(watched: Watched, pair: Pair):
    good = pair.key.read_bytes()
    pair.key.write_bytes(b"")
    await watched.certificates.check()
    await watched.certificates.check()
    assert not watched.certificates.valid
    pair.key.write_bytes(good)
    watched.certificates.use(watched.load())
    assert watched.certificates.valid


async def test_a_side_without_a_certificate_has_no_end(watched: Watched):
    tls = watched.load()
    watched.certificates.use(Tls(tls.listeners))
    assert watched.ends("backend") is None
    assert watched.ends("listen") is not None


def test_a_config_not_loaded_for_serving_never_listens_plainly(watched: Watched):
    tls = watched.load()
    with pytest.raises(ValueError, match="not loaded for serving"):
        Certificates(watched.settings, Tls(), backend_pool(watched.settings, tls), Metrics(), Lines())


async def test_a_mount_that_does_not_answer_is_reported_and_delays_no_other_side(
    watched: Watched, authority: Authority, pair: Pair, mine: Pair
):
    """A thread that does not return stands for a look at such a mount."""
    gate = threading.Event()
    stuck = asyncio.create_task(watched.certificates._sides["listen"].threads.run(gate.wait, 30))
    await asyncio.sleep(0)
    watched.certificates.look_within = 0.2
    mine.become(authority.issue("other", days=40))
    await watched.certificates.check()
    assert [line["side"] for line in watched.events("certificate_renewed")] == ["backend"]
    [reported] = watched.events("certificate_rejected")
    assert (reported["side"], reported["problem"]) == ("listen", "cert: the file system does not answer")
    assert not watched.certificates.valid
    gate.set()
    await stuck
    watched.certificates.look_within = 20
    await watched.certificates.check()
    assert watched.certificates.valid


def test_a_listener_s_context_has_nothing_of_its_own(watched: Watched, authority: Authority):
    context = ListenerContext(watched.listener)
    assert context.current is watched.listener
    assert context.cert_store_stats()["x509"] == 0
    end = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True)
    assert end.context is watched.listener
