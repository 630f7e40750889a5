"""Mistakes in config and policy files: each message has its place, the value, the accepted form and a near name."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from sidecar.config.documents.merging import DocumentError, Problem
from sidecar.workbench.loading import load

CONFIG = """\
resource: https://mcp.example.com/mcp
listen: 127.0.0.1:8080
backend:
  url: http://127.0.0.1:8000/mcp
  timeout: 5m
issuers:
  - issuer: https://example.com/api/auth
    claims: {account: sub, scopes: [scope]}
store: {url: embedded}
policies: policy.yaml
limits: {body: 1MiB, items: 500}
"""
POLICY = """\
scopes:
  stores:read: Read stores.
  contacts:reveal: {description: Reveal contacts., implies: [stores:read]}
consent: required
quotas:
  requests: {minute: 60, day: 5000}
  search_rows: {month: 25000}
credits: {contact: One per contact.}
default_plan: free
plans:
  free: {tools: [search], quotas: {requests: {minute: 10}}}
  growth: {credits: {contact: {month: 3000}}}
tools:
  search:
    scopes: [stores:read]
    arguments:
      properties: {limit: {type: integer, maximum: 100, default: 25}}
      additionalProperties: false
    uses: {requests: 1, search_rows: {reserve: arguments.limit, settle: length(data.rows)}}
  reveal:
    scopes: [contacts:reveal]
    arguments:
      properties: {ids: {type: array}, sure: {type: boolean}}
      required: [ids]
      additionalProperties: false
    confirm: {argument: sure}
    spends: {contact: {items: arguments.ids, once: true}}
    timeout: 30s
resources: {"docs://*": {scopes: [stores:read]}}
tests:
  - name: searching is allowed
    caller: {scopes: [stores:read]}
    call: {tool: search, arguments: {limit: 5}}
    expect: allow
"""

MISTAKES: list[dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("mistakes.yaml").read_text("utf-8"))
PLACE = re.compile(r"(config|policy)\.yaml:[1-9][0-9]*:[1-9][0-9]*: ")
# The path says what is missing; the outcome that a failed test got is what it may expect.
COMPLETE_ALONE = ("required but missing", "the test ")


def shortened(text: str) -> str:
    """Return a message with the first two of a long list of names, so that a new key changes no entry."""
    return re.sub(r"(accepted: [^,;]+, [^,;]+, )[^;]{60,}", r"\1(...)", text)


def problems(folder: Path, mistake: dict[str, Any]) -> tuple[Problem, ...]:
    for name, text in (("config.yaml", CONFIG), ("policy.yaml", POLICY)):
        if name == mistake["file"]:
            assert mistake["replace"] in text
            text = text.replace(mistake["replace"], mistake["with"], 1)
        (folder / name).write_text(text, "utf-8")
    with pytest.raises(DocumentError) as caught:
        load(folder / "config.yaml", {})
    return caught.value.problems


def test_the_files_without_a_mistake_are_sound(tmp_path: Path):
    (tmp_path / "config.yaml").write_text(CONFIG)
    (tmp_path / "policy.yaml").write_text(POLICY)
    loaded = load(tmp_path / "config.yaml", {})
    assert (list(loaded.policy.tools), loaded.notices) == (["search", "reveal"], ())


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake["with"][:40] or "nothing")
def test_each_mistake_has_its_message(tmp_path: Path, mistake: dict[str, Any]):
    found = problems(tmp_path, mistake)
    assert [shortened(str(each).replace(f"{tmp_path}/", "")) for each in found] == mistake["says"]
    for each in found:
        assert PLACE.match(f"{Path(each.place.file).name}:{each.place.line}:{each.place.column}: ")
        assert each.accepted or each.wrong.startswith(COMPLETE_ALONE)


def test_there_are_more_than_a_hundred_and_each_once():
    assert len({(each["file"], each["replace"], each["with"]) for each in MISTAKES}) == len(MISTAKES) > 100
