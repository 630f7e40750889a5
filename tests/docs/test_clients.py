"""The page that says which clients and servers were tried names the versions that the tests install."""

from __future__ import annotations

import json
import re
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_names_the_versions_that_are_tested():
    page = (ROOT / "docs" / "protocol.md").read_text().partition("## Clients and servers")[2]
    told = dict(re.findall(r"^\| `([^`]+)`[^|]*\| ([0-9.]+) \|", page, re.MULTILINE))
    pinned = json.loads((ROOT / "tests" / "package.json").read_text())["dependencies"]
    assert told.pop("mcp") == ".".join(version("mcp").split(".")[:2])
    assert told == {name: pinned[name] for name in told}
    assert len(told) == 3
