"""Sidecars and store killed at random moments: a short run of `make soak`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.soak import ENOUGH, soak


@pytest.mark.timeout(300)  # on a busy machine processes start slowly
async def test_killing_at_random_moments_loses_and_makes_no_credit(tmp_path: Path):
    report = await soak(tmp_path, 20, seed=1)
    assert report.wrong == [], str(report)
    # Something was broken in every way, and calls came through all the same.
    assert report.facts["of them with a result"] >= ENOUGH, str(report)
    assert min(report.facts[what] for what in ("of all these included", "calls counted", "rows counted")) > 0, str(
        report
    )
    assert report.facts["kill -9 of a sidecar"] >= 2, str(report)
    assert report.facts["kill -9 of the store"] >= 1, str(report)
