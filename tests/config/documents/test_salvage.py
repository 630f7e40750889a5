"""Problems that other problems of the same document hide."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sidecar.config.documents.merging import DocumentError
from sidecar.workbench.loading import load

CONFIG = """\
resource: https://mcp.example.com/mcp
listen: 127.0.0.1:8080
admin: 127.0.0.1:8080
backend: {url: ftp://x, idle_timeout: 5}
issuers:
  - issuer: https://login.microsoftonline.com/common/v2.0
    leeway: 2m
    grants: [{all: true, scopes: [nope]}]
limits: {body: 1MiB, memory: 2MiB, items: x}
"""
POLICY = """\
scopes: {a: A.}
tools:
  x: {spends: {coin: 1}, uses: {calls: 1}}
"""


def problems(folder: Path, policy: str) -> dict[str, str]:
    """Return the paths of all problems by their places."""
    (folder / "config.yaml").write_text(CONFIG)
    (folder / "policies").mkdir()
    (folder / "policies" / "p.yaml").write_text(policy)
    with pytest.raises(DocumentError) as info:
        load(folder / "config.yaml", {}, serving=False)
    return {re.sub(r"^.*/", "", str(problem.place)): problem.path for problem in info.value.problems}


def test_a_wrong_value_does_not_hide_a_comparison_with_the_policy(tmp_path: Path):
    found = problems(tmp_path, "scopes: {a: A.}\ntools: {x: {scopes: [a]}}\n")
    assert found["config.yaml:8:35"] == "issuers[0].grants[0].scopes[0]"


def test_a_wrong_value_hides_no_rule_between_values_and_no_problem_of_the_policy(tmp_path: Path):
    assert problems(tmp_path, POLICY) == {
        "config.yaml:3:8": "admin",
        "config.yaml:4:16": "backend.url",
        "config.yaml:4:39": "backend.idle_timeout",
        "config.yaml:6:13": "issuers[0].issuer",
        "config.yaml:7:13": "issuers[0].leeway",
        "config.yaml:9:16": "limits.body",
        "config.yaml:9:30": "limits.memory",
        "config.yaml:9:43": "limits.items",
        "p.yaml:3:3": "tools.x.scopes",
        "p.yaml:3:16": "tools.x.spends.coin",
        "p.yaml:3:33": "tools.x.uses.calls",
    }


@pytest.mark.parametrize("text", ["[]\n", "resource: 7\nbackend: 7\nissuers: 7\nlimits: 7\n", "issuers: [7, {}]\n"])
def test_a_document_without_valid_parts_is_read_to_its_end(tmp_path: Path, text: str):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(DocumentError):
        load(tmp_path / "config.yaml", {}, serving=False)
