"""Areas of stacks, as py-spy writes them."""

from __future__ import annotations

import pytest

from bench.profile import of_profile, shares

_LIB = "/venv/lib/python3.11/site-packages"
_STANDARD = "/usr/lib/python3.11"
_OUTER = f"<module> (/w/sidecar/__main__.py:5);main (/w/sidecar/cli/serve.py:9);run ({_STANDARD}/asyncio/runners.py:1)"
STACKS = {
    f"{_OUTER} 6": "event loop",
    f"{_OUTER};start ({_LIB}/aiohttp/web_protocol.py:5);run (/w/sidecar/proxy/pipeline.py:7) 1": "`proxy`",
    f"{_OUTER};run (/w/sidecar/proxy/backend/pool.py:7);loads ({_STANDARD}/json/__init__.py:2) 2": "`proxy/backend`",
    f"{_OUTER};start ({_LIB}/aiohttp/web_protocol.py:5) 1": "aiohttp",
}


def test_samples_count_for_the_innermost_function_that_belongs_to_an_area():
    found = shares(STACKS)
    assert list(found) == ["event loop", "`proxy/backend/`", "`proxy/`", "aiohttp"]
    assert found["event loop"] == pytest.approx(0.6)


def test_small_areas_are_added_up():
    text = of_profile({"`proxy/`": 0.997, "aiohttp": 0.003}, 1000.0, "priced")
    assert text.splitlines()[2:] == ["| `proxy/` | 997 | 100% |", "| the rest | 3 | 0% |"]
