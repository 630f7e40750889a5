"""Export of spans: what is counted, what is dropped, and that no call waits for a collector."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sidecar.cli import main
from sidecar.observe.tracing.exporter import BATCH, MAX_SPANS, SpanExporter, SpanOutcome
from sidecar.observe.tracing.otlp import SpanEncoder, rejected_spans
from sidecar.observe.tracing.spans import SERVER, Span
from tests.proxy.support import POLICY
from tests.support import rig as rigs
from tests.support.certificates import Authority
from tests.support.collector import Collector
from tests.support.rig import Rig
from tests.support.store import free_port, rest, until


class Exported:
    """An exporter, and what it has counted and reported."""

    def __init__(self, url: str, **headers: str) -> None:
        self.counts = dict.fromkeys(SpanOutcome, 0)
        self.reports: list[str | None] = []
        self.exporter = SpanExporter(
            *(url, SpanEncoder("test"), rejected_spans),
            headers=headers,
            tls=None,
            counted=self.count,
            reported=self.reports.append,
        )

    def count(self, outcome: SpanOutcome, number: int) -> None:
        self.counts[outcome] += number

    @property
    def nonzero(self) -> dict[str, int]:
        return {outcome.value: number for outcome, number in self.counts.items() if number}

    async def flushed(self) -> bool:
        return await asyncio.get_running_loop().run_in_executor(None, self.exporter.flush, 20.0)


def span(number: int = 1) -> Span:
    return Span("GET", SERVER, f"{number:032x}", f"{number:016x}", None, False, 1, 2, (("a", number),), False)


async def test_spans_arrive_with_the_configured_headers(collector: Collector):
    made = Exported(collector.url, Authorization="Basic c2VjcmV0")
    made.exporter.put([span(1), span(2)])
    assert await made.flushed()
    assert [each.id for each in collector.spans] == [f"{1:016x}", f"{2:016x}"]
    (headers,) = collector.requests
    assert (headers["Authorization"], headers["Content-Type"]) == ("Basic c2VjcmV0", "application/x-protobuf")
    assert (made.nonzero, made.reports) == ({"exported": 2}, [None])


async def test_a_full_queue_drops_and_counts(collector: Collector):
    collector.gate.clear()
    made = Exported(collector.url)
    made.exporter.put([span()])
    await until(lambda: bool(collector.requests))
    for _ in range(MAX_SPANS // BATCH):
        made.exporter.put([span()] * BATCH)
    made.exporter.put([span(), span()])
    assert made.nonzero == {"queue_full": 2}
    collector.gate.set()
    assert await made.flushed()
    assert made.nonzero == {"queue_full": 2, "exported": MAX_SPANS + 1}
    assert max(len(body) for body in collector.bodies) < 1 << 20


async def test_a_collector_that_is_busy_is_asked_again(collector: Collector):
    collector.answers.extend([503, 429])
    made = Exported(collector.url)
    made.exporter.put([span()])
    assert await made.flushed()
    assert (made.nonzero, made.reports, len(collector.requests)) == ({"exported": 1}, [None], 3)


async def test_a_collector_that_refuses_is_not_asked_again(collector: Collector):
    collector.answers.append(401)
    made = Exported(collector.url)
    made.exporter.put([span()])
    assert await made.flushed()
    assert (made.nonzero, made.reports) == ({"rejected": 1}, ["127.0.0.1 answered 401"])


async def test_rejected_spans_of_a_batch_are_counted(collector: Collector):
    collector.rejects = 1
    made = Exported(collector.url)
    made.exporter.put([span(1), span(2)])
    assert await made.flushed()
    assert (made.nonzero, made.reports) == ({"exported": 1, "rejected": 1}, ["127.0.0.1 rejected 1 spans"])


async def test_an_unreachable_collector_costs_its_spans_alone():
    made = Exported(f"http://127.0.0.1:{free_port()}/v1/traces")
    made.exporter.put([span()])
    assert await made.flushed()
    assert (made.nonzero, made.reports) == ({"failed": 1}, ["127.0.0.1: ConnectionRefusedError"])


async def test_a_url_without_a_path_gets_that_of_otlp(collector: Collector):
    made = Exported(collector.url.removesuffix("/v1/traces"))
    made.exporter.put([span()])
    assert await made.flushed()
    assert made.nonzero == {"exported": 1}


async def test_calls_do_not_wait_for_a_collector_that_hangs(traced: Any, collector: Collector):
    rig = await traced()
    collector.gate.clear()
    for _ in range(3):
        assert (await rig.call("list_taxonomy")).status == 200
    await until(lambda: bool(collector.requests))
    assert collector.bodies == []
    collector.gate.set()
    await until(lambda: len(collector.spans) >= 9)
    await until_metric(rig, 'mcp_sidecar_spans_total{outcome="exported"}', 9)


async def test_a_failed_export_is_logged_and_counted(traced: Any, collector: Collector):
    rig = await traced()
    collector.answers.append(403)
    await rig.call("list_taxonomy")
    await until(lambda: any(line["event"] == "spans_not_exported" for line in rig.log))
    (line,) = [line for line in rig.log if line["event"] == "spans_not_exported"]
    assert (line["level"], line["problem"]) == ("warning", "127.0.0.1 answered 403")
    assert await rig.metric('mcp_sidecar_spans_total{outcome="rejected"}') == 3
    await rig.call("list_taxonomy")
    await until(lambda: any(line["event"] == "spans_exported_again" for line in rig.log))


@pytest.mark.parametrize("trusted", [True, False])
async def test_a_collector_with_tls_is_verified(launch: Any, tmp_path: Path, trusted: bool):
    authority = Authority(tmp_path)
    other = Authority(tmp_path, "other")
    async with Collector(authority.server(authority.issue("collector"))) as collector:
        ca = str((authority if trusted else other).cert)
        rig = await launch(tracing={"endpoint": collector.url, "sample": 1, "tls": {"ca": ca}})
        reply = await rig.call("list_taxonomy")
        if trusted:
            assert len(await collector.of_request(reply.headers["X-Request-Id"])) == 3
        else:
            await until_metric(rig, 'mcp_sidecar_spans_total{outcome="failed"}', 3)
            await until(lambda: any("SSLCertVerificationError" in str(line.get("problem")) for line in rig.log))
            assert collector.requests == []


async def test_the_last_spans_are_exported_when_the_process_ends(
    tmp_path: Path, store_server: Any, collector: Collector
):
    async with rigs.rig(tmp_path, store_server, policy=POLICY, tracing={"endpoint": collector.url, "sample": 1}) as rig:
        await collector.of_request((await rig.call("list_taxonomy")).headers["X-Request-Id"])
        last = (await rig.call("list_taxonomy")).headers["X-Request-Id"]  # within the pause after a batch
    assert [each for each in collector.spans if each.attributes.get("mcp_sidecar.request_id") == last]


async def until_metric(rig: Rig, series: str, value: float) -> None:
    async with asyncio.timeout(60):
        while await rig.metric(series) != value:
            await rest()


WITHOUT_EXTRA = """
import sys
sys.modules["opentelemetry"] = None  # as if it were not installed
from sidecar.cli import main
sys.exit(main(["check", "--config", sys.argv[1]]))
"""


@pytest.mark.process
def test_a_missing_extra_is_a_problem_of_the_config(tmp_path: Path):
    (tmp_path / "policy.yaml").write_text("scopes: {}\ntools: {a: {scopes: []}}\n")
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTRA, str(config)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert (
        "config.yaml:5:1: tracing: needs the package opentelemetry-proto, which is not installed; "
        "accepted: pip install 'mcp-policy-sidecar[otel]', or no tracing" in done.stderr
    ), done.stderr
    assert main(["check", "--config", str(config)]) == 0


CONFIG = """\
resource: http://127.0.0.1:8080/mcp
backend: {url: http://127.0.0.1:8000/mcp}
issuers: [{issuer: http://127.0.0.1:9000}]
policies: [policy.yaml]
tracing: {endpoint: "http://127.0.0.1:4318"}
"""
