"""Compare the versions of clients and servers on the protocol page with those that the tests install."""

from __future__ import annotations

import json
import re
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_names_the_versions_that_are_tested():
    page = (ROOT / "docs" / "protocol.md").read_text().partition("## Clients and servers")[2]
    named = dict(re.findall(r"^\| `([^`]+)`[^|]*\| ([0-9.]+) \|", page, re.MULTILINE))
    pinned = json.loads((ROOT / "tests" / "package.json").read_text())["dependencies"]
    assert named.pop("mcp") == ".".join(version("mcp").split(".")[:2])
    assert named == {name: pinned[name] for name in named}
    assert len(named) == 3
