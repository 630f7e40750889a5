"""Tables, verdicts and the picture, from a run of known figures."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from bench.peers import PEERS
from bench.report import capacity, plot, sizing, tables, targets
from bench.report.figures import Figures, Spread
from bench.report.page import replaced


def cell(workload: str, mode: str, peer: str, **figures: list[float]) -> dict[str, Any]:
    return {"workload": workload, "mode": mode, "peer": peer, "figures": figures}


DOCUMENT: dict[str, Any] = {
    "made": "2026-11-29T12:00:00+00:00",
    "rounds": 3,
    "seconds": 2.0,
    "machine": {"cpu": "A Processor", "cores": 2, "kernel": "6.1.0-13", "python": "3.11.7", "load_before": 0.1},
    "peers": {
        "textbook": {"version": "aiohttp 3", "pss": 20 << 20},
        "sidecar": {"version": "mcp-policy-sidecar 0", "pss": 60 << 20},
        "direct": {"version": "", "pss": 0},
    },
    "skipped": {"nginx": "there is no Debian here"},
    "further": {"cold": {"more_us": [90.0, 100.0, 200.0]}, "idle-get": {"bytes_each": 20 * 1024, "dropped": 0}},
    "cells": [
        cell("scoped", "c32", "textbook", cpu_us=[100, 200, 150], store_us=[0, 0, 0], rate=[9000], p99_ms=[8, 9, 10]),
        cell("scoped", "c32", "sidecar", cpu_us=[70, 160, 120], store_us=[40, 50, 60], rate=[8000], p99_ms=[9, 9, 9]),
        cell("scoped", "low", "direct", p50_ms=[0.1, 0.2], p99_ms=[0.5, 0.5]),
        cell("scoped", "low", "sidecar", p50_ms=[0.5, 0.9], p99_ms=[4.5, 1.5]),
        cell("scoped", "low", "textbook", p50_ms=[0.5, 0.6], p99_ms=[1.5, 1.5]),
        cell("scoped", "awake", "direct", p50_ms=[0.1, 0.1], p99_ms=[0.1, 0.1]),
        cell("scoped", "awake", "sidecar", p50_ms=[0.3, 0.4], p99_ms=[0.5, 0.5]),
        cell("priced", "c32", "sidecar", cpu_us=[300], store_us=[210], rate=[3000], p50_ms=[3], p99_ms=[8]),
    ],
}
RUN = Figures(DOCUMENT)


def test_ratios_are_of_the_same_round():
    assert RUN.ratio("scoped", "sidecar") == Spread(0.8, 0.7, 0.8)


def test_added_latency_is_what_the_same_round_took_more():
    added = RUN.added("scoped", "sidecar", "p50_ms")
    assert added is not None
    assert [added.lowest, added.highest] == pytest.approx([0.4, 0.7])
    awake = RUN.added("scoped", "sidecar", "p50_ms", "awake")
    assert awake is not None
    assert [awake.lowest, awake.highest] == pytest.approx([0.2, 0.3])


def test_added_latency_is_compared_with_what_the_textbook_proxy_adds_in_the_same_round():
    ratio = RUN.added_ratio("scoped", "sidecar", "textbook", "p50_ms")
    assert ratio is not None
    assert [ratio.lowest, ratio.highest] == pytest.approx([1.0, 1.75])
    assert RUN.added_ratio("priced", "sidecar", "textbook", "p50_ms") is None


def test_a_spread_shows_the_median_first():
    assert Spread(1234.5, 9.0, 20000.0).text(1) == "1,234.5 (9.0–20,000.0)"


def test_targets_say_by_how_much_they_are_met_or_missed():
    rows = {(about, limit): verdict for about, limit, _, verdict in targets.rows(RUN)}
    assert rows["CPU, scoped", "≤ 0.80 × textbook"] == "met, 0% below"
    assert rows["CPU of the store, priced", "≤ 120 µs"] == "**short** by 75%"
    assert rows["CPU of a token's first verification", "≤ 150 µs more"] == "met, 33% below"
    assert rows["memory of an idle GET stream", "≤ 16.0 KiB"] == "**short** by 25%"
    assert rows["idle GET streams dropped", "≤ 0"] == "met"


def test_targets_that_were_not_measured_are_not_shown():
    assert not any(about.startswith("latency added at 100/s, priced") for about, *_ in targets.rows(RUN))


def test_proxies_of_another_run_are_placed_by_their_ratio():
    titles = [line.split(" | ")[0] for line in tables.of_peers(RUN).splitlines()[2:]]
    assert titles[:2] == ["| **this sidecar**", "| textbook aiohttp proxy"]
    assert titles[2].startswith("| ToolHive")


def test_the_capacity_is_reckoned_from_the_cost_of_one_call():
    assert capacity.cores(700, 1000) == pytest.approx(1.0)
    assert "| priced | 8 | 3.5 | 5 |" in capacity.table_of(RUN)


def test_every_table_can_be_made_of_a_run_that_measured_nothing():
    empty = Figures({**DOCUMENT, "cells": [], "further": {}, "peers": {}})
    assert all(isinstance(make(empty), str) for make in tables.TABLES.values())


def test_the_terminal_shows_what_was_left_out():
    assert tables.printed(DOCUMENT).endswith("left out: nginx: there is no Debian here")


def test_a_busy_machine_is_named():
    busy = {**DOCUMENT, "machine": {**DOCUMENT["machine"], "load_before": 7.2}}
    assert "(load 7.2)" in tables.about(Figures(busy))
    assert "busy" not in tables.about(RUN)


def test_only_named_parts_of_a_page_change():
    page = "a\n<!-- bench: one -->\nold\n<!-- end -->\n<!-- bench: two -->\nkept\n<!-- end -->\n"
    assert replaced(page, {"one": "new"}) == page.replace("old", "new")


def test_the_picture_is_well_formed_and_names_what_is_shown():
    drawn = plot.drawn(RUN)
    texts = [each.text for each in ElementTree.fromstring(drawn).iter("{http://www.w3.org/2000/svg}text")]
    assert {"this sidecar, scoped", "this sidecar, priced", "textbook aiohttp proxy"} <= set(texts)
    assert "120 + 50" in texts


def test_peers_are_named_once():
    assert all(name == peer.name for name, peer in PEERS.items())


def test_one_busy_account_is_reckoned_from_the_stores_cost_of_a_call():
    """210 µs of one core: 3,333 calls a second at 70 %; 10,000 need 2.1 cores, which one primary does not have."""
    assert "| priced | 3,333 a second | 2.1 cores | 52 ms for each sidecar |" in sizing.of_account(RUN)
    assert "| scoped | 14,000 a second | 0.5 cores | 12 ms for each sidecar |" in sizing.of_account(RUN)


def test_memory_is_summed_in_binary_units():
    further = {**DOCUMENT["further"], "growth-accounts": {"store_bytes_each": 5120, "store_bytes_each_used": 1024}}
    table = sizing.of_memory(Figures({**DOCUMENT, "further": further}))
    assert "| a sidecar that serves, without what is in flight | 60 MiB |" in table
    assert "| an idle GET stream, in the sidecar | 20.0 KiB |" in table
    assert "| an account that has called, in the store | 6.0 KiB |" in table
    assert "| a million of them | 5.7 GiB |" in table
