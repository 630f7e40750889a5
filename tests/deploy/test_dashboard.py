"""The dashboard: made from its panels, and each query answered by a real Prometheus that scraped a real run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pytest_aiohttp import AiohttpServer

from tests.admin_api.support import section
from tests.deploy import dashboard
from tests.deploy.panels import ROWS
from tests.deploy.scraping import JOB, Prometheus, scraping
from tests.docs import tables
from tests.proxy.support import contacts, policy
from tests.support.backend import Backend
from tests.support.certificates import Authority, Pair
from tests.support.introspection import Introspection
from tests.support.rig import Rig, rig
from tests.support.store import StoreServer, until

ROOT = Path(__file__).parents[2]
Json = dict[str, Any]

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]

EMPTY = {
    "Names counted as _other": "no name is, in a run within the budget of series",
    "Replaced workers": "there is one process",
    "Spans for the collector": "tracing is off",
}
"""Panels without a series in the run, and why."""

SHADOWED = {"requests": {"day": 2, "mode": "shadow"}, "search_rows": {"month": 100}}


# --- the file --------------------------------------------------------------------------------------


def test_the_file_is_the_one_that_the_panels_make():
    assert dashboard.FILE.read_text("utf-8") == dashboard.made(), "run: python -m tests.deploy.dashboard --write"


def shown() -> list[Json]:
    return [each for each in json.loads(dashboard.made())["panels"] if each["type"] != "row"]


def expressions() -> Iterator[tuple[str, str]]:
    for panel in shown():
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def test_panels_have_numbers_places_and_options():
    panels = json.loads(dashboard.made())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(places)) == len(places)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)
    assert all(panel["options"] and panel["targets"] for panel in shown())
    assert len({panel["title"] for panel in shown()}) == len(shown())
    assert len(shown()) == sum(map(len, ROWS.values()))


def test_every_metric_is_shown_or_watched():
    """A metric that nothing reads is either not worth its series, or missing here."""
    read = " ".join(expression for _, expression in expressions())
    read += (ROOT / "deploy" / "alerts.yaml").read_text("utf-8")
    names = {re.sub("_total$", "", name.strip("`")) for name, *_ in tables.metric_rows()}
    assert {name for name in names if name not in read} == set()


# --- a run -----------------------------------------------------------------------------------------


async def calls(running: Rig, endpoint: Introspection) -> None:
    """Make calls of every outcome that the dashboard distinguishes."""
    await running.account(credits=6)
    await running.grant()
    for _ in range(3):
        await running.call("list_taxonomy")
    await running.call("search_shopify_stores", {"limit": 5})
    assert (await running.call("search_shopify_stores", {"limit": 200})).code == "quota_exceeded"
    assert (await running.call("reveal_contacts", contacts("a", "b"))).code is None
    await running.call("enrich_shopify_domains", {"domains": [str(number) for number in range(20)]})
    await running.call("no_such_tool")
    await running.call("list_taxonomy", token=None)
    await running.call("list_taxonomy", token="opaque")
    async with running.stream() as stream:
        await until(lambda: bool(running.backend.streams))
        await running.revoke()
        while await stream.event() is not None:
            pass
    assert (await running.call("list_taxonomy")).code == "consent_revoked"


def filled(expression: str) -> str:
    """The query as Grafana sends it with all variables at `All`."""
    return expression.replace("$__rate_interval", "5m").replace("$job", ".+").replace("$instance", ".+")


async def test_every_query_has_series_in_a_prometheus_that_scraped_a_run(
    tmp_path: Path, store_server: StoreServer, authority: Authority, pair: Pair, aiohttp_server: AiohttpServer
):
    endpoint = await Introspection().serve(aiohttp_server)
    issuer = {"introspection": endpoint.settings}
    running_rig = rig(
        tmp_path,
        store_server,
        policy=policy(quotas=SHADOWED),
        scripted=Backend(sessions=True),
        issuer=issuer,
        admin_api=section(),
        tls=(pair.files, authority.client()),
    )
    async with running_rig as running:
        target = str(running.sidecar.addresses["admin"])
        rules = ROOT / "deploy" / "alerts.yaml"
        async with scraping(tmp_path, target, rules=rules) as prometheus:
            await prometheus.until(f'up{{job="{JOB}"}} == 1')  # so that counters are seen at 0
            endpoint.issuer, endpoint.resource = running.issuer.url, running.url
            await calls(running, endpoint)
            await prometheus.until("mcp_sidecar_revocation_stream_end_seconds_count == 1")
            await prometheus.until("mcp_sidecar_revocation_denial_seconds_count == 1")
            # Histograms begin with their first call, and a rate needs two samples.
            await prometheus.until('count_over_time(mcp_sidecar_overhead_seconds_count{method="tools/call"}[5m]) > 1')
            await checked(prometheus)


async def checked(prometheus: Prometheus) -> None:
    empty, failed = set(), []
    for title, expression in expressions():
        if not await prometheus.query(filled(expression)):
            empty.add(title)
        ranged = filled(expression)
        if title not in EMPTY and not await ranged_series(prometheus, ranged):
            failed.append(title)
    assert empty == set(EMPTY)
    assert failed == []
    await moved(prometheus)
    # OpenMetrics was understood: its exemplars are those of calls.
    found = await prometheus.api(
        "query_exemplars", query="mcp_sidecar_request_seconds_bucket", start="0", end="9999999999"
    )
    assert re.fullmatch("[0-9a-f]{32}", found[0]["exemplars"][0]["labels"]["trace_id"])
    await alerts_read_what_exists(prometheus)


async def ranged_series(prometheus: Prometheus, expression: str) -> bool:
    at = float((await prometheus.api("query", query="time()"))["result"][0])
    found = await prometheus.api("query_range", query=expression, start=str(at - 30), end=str(at), step="5")
    return bool(found["result"])


async def moved(prometheus: Prometheus) -> None:
    """Queries of what has happened are above 0, not only present."""
    for expression in (
        'rate(mcp_sidecar_refusals_total{code="quota_exceeded", quota="search_rows"}[5m])',
        'rate(mcp_sidecar_refusals_total{code="insufficient_credits", pool="contact"}[5m])',
        'rate(mcp_sidecar_credits_spent_total{pool="contact"}[5m])',
        'rate(mcp_sidecar_quota_used_total{quota="search_rows"}[5m])',
        'rate(mcp_sidecar_shadow_refusals_total{tool="list_taxonomy", code="quota_exceeded", quota="requests"}[5m])',
        'rate(mcp_sidecar_streams_ended_total{reason="access_withdrawn"}[5m])',
        "rate(process_cpu_seconds_total[5m])",
        "rate(mcp_sidecar_event_loop_lag_seconds_count[5m])",
        "mcp_sidecar_account_refusals_max",
        "mcp_sidecar_ready",
    ):
        await prometheus.until(f"{expression} > 0")


async def alerts_read_what_exists(prometheus: Prometheus) -> None:
    (group,) = yaml.safe_load((ROOT / "deploy" / "alerts.yaml").read_text("utf-8"))["groups"]
    never = {"mcp_sidecar_series_over_budget_total", "mcp_sidecar_worker_restarts_total"}
    for rule in group["rules"]:
        for name in set(re.findall(r"(?:mcp_sidecar|process)_\w+", rule["expr"])) - never:
            assert await prometheus.query(name), (rule["alert"], name)
    (loaded,) = (await prometheus.api("rules"))["groups"]
    assert [rule["name"] for rule in loaded["rules"]] == [rule["alert"] for rule in group["rules"]]
    assert all(rule["health"] in ("ok", "unknown") for rule in loaded["rules"])
    alerts = (await prometheus.api("alerts"))["alerts"]
    assert [each["labels"]["alertname"] for each in alerts if each["state"] == "firing"] == []
