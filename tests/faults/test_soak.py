"""Sidecars and store killed at random moments: a short run of what `make soak` does for as long as it is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.soak import soak


@pytest.mark.timeout(240)  # on a busy machine processes start slowly
async def test_killing_at_random_moments_loses_and_makes_no_credit(tmp_path: Path):
    report = await soak(tmp_path, 20, seed=1)
    assert report.wrong == [], str(report)
    # Else nothing was shown: something was killed, and calls came through all the same.
    assert report.facts["of them with a result"] >= 20, str(report)
    assert report.facts.get("kill -9 of a sidecar", 0) + report.facts.get("kill -9 of the store", 0) >= 2, str(report)
