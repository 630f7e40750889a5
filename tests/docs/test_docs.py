"""What the documentation says is what the program does."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from sidecar.cli import _parser
from sidecar.config.load import load_settings
from sidecar.errors import ErrorCode
from sidecar.ledger import receipts
from sidecar.observe.record import Status, fields
from sidecar.outcome import Event, Exchange
from sidecar.policy.models import PolicyDocument
from sidecar.proxy.forward import _RELAYED
from sidecar.workbench.load import load_policy
from tests.docs import tables
from tests.docs.tables import PAGES, ROOT
from tests.support.rig import rig

README = ROOT / "README.md"
FENCE = re.compile(r"^( *)```(\w+)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
COMMAND = re.compile(r"(?:^|[|`$] ?|\.venv/bin/)(mcp-sidecar [a-z][^`|\n]*)")


def text(page: Path) -> str:
    return page.read_text("utf-8")


def blocks(page: Path, language: str) -> Iterator[str]:
    for indent, kind, body in FENCE.findall(text(page)):
        if kind == language:
            yield "\n".join(line.removeprefix(indent) for line in body.splitlines())


def section(page: str, heading: str) -> str:
    """What stands under a heading, to the next one of any level."""
    return re.split(r"^#+ ", re.split(rf"^#+ {re.escape(heading)}\n", text(ROOT / page), flags=re.M)[1], flags=re.M)[0]


def first_column(page: str, heading: str) -> list[str]:
    return re.findall(r"^\| `([^`]+)` \|", section(page, heading), re.M)


# --- made from the code ------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tables_are_those_of_the_code(page):
    assert text(page) == tables.rendered(text(page)), "run: python -m tests.docs.tables --write"


def test_every_table_is_used_once():
    assert sorted(tables.used()) == sorted(tables.TABLES)


def test_every_code_has_its_runbook_heading_and_every_heading_its_code():
    runbook = text(ROOT / "docs/errors.md").partition("# Runbook")[2]
    assert re.findall(r"^### (.+)$", runbook, re.M) == [code.id for code in ErrorCode]
    for entry in re.split(r"^### ", runbook, flags=re.M)[1:]:
        heading, _, body = entry.partition("\n")
        assert 1 <= len(body.strip().splitlines()) <= 5, heading


def test_every_event_of_a_settlement_is_told():
    assert all(f"`{event.value}`" in text(ROOT / "docs/settlement.md") for event in Event)


def test_the_log_page_names_every_field_in_order():
    line = ["ts", "level", "event", *fields(Exchange("1", 0.0), Status.OK, 0.0), "stream_end", "notes", "truncated"]
    assert first_column("docs/log.md", "The line of a call") == line
    assert all(set(json.loads(each)) <= set(line) for each in blocks(ROOT / "docs/log.md", "json"))


def test_the_log_page_names_every_event():
    source = "\n".join(text(path) for path in (ROOT / "sidecar").rglob("*.py"))
    events = set(re.findall(r'\.(?:event\(|write\("[a-z]+",)\s*"([a-z_]+)"', source)) | {"library"}
    assert set(first_column("docs/log.md", "Other events")) == events


def test_the_receipts_shown_have_the_members_that_receipts_have():
    shown = [json.loads(each) for each in blocks(ROOT / "docs/receipts.md", "json")]
    entries = [entry for each in shown for kind in ("quotas", "credits") for entry in each.get(kind, {}).values()]
    told = {name for each in [*shown, *entries] for name in each}
    assert told == set(receipts.FIELDS)


def test_the_protocol_page_names_the_headers_that_are_relayed():
    told = section("docs/protocol.md", "Answers").lower()
    assert all(f"`{name}`" in told for name in _RELAYED)


def test_alerts_ask_for_metrics_and_codes_that_exist():
    rules = yaml.safe_load(text(ROOT / "deploy/alerts.yaml"))["groups"][0]["rules"]
    names = {name.strip("`") for name, *_ in tables.metric_rows()}
    expressions = [rule["expr"] for rule in rules] + list(blocks(ROOT / "docs/metrics.md", "promql"))
    for expression in expressions:
        used = re.findall(r"mcp_sidecar_\w+", expression)
        assert used
        assert {name.removesuffix("_bucket") for name in used} <= names
        codes = "|".join(re.findall(r'code=~?"([^"]+)"', expression))
        assert set(filter(None, codes.split("|"))) <= {code.id for code in ErrorCode}


# --- what the reader copies --------------------------------------------------------------------


def documents() -> list[tuple[str, dict[str, object]]]:
    found = []
    for page in PAGES:
        for block in blocks(page, "yaml"):
            value = yaml.safe_load(block)  # every block is YAML, also those that are a part only
            if isinstance(value, dict):
                found.append((block, value))
    return found


def test_configs_load(tmp_path):
    configs = [block for block, value in documents() if "resource" in value]
    assert configs
    for block in configs:
        config = tmp_path / "config.yaml"
        config.write_text(block)
        load_settings(config, {})
    for shipped in (ROOT / "config.yaml", ROOT / "deploy/config.yaml"):
        load_settings(shipped, {})


def test_policies_load_and_pass_their_tests(tmp_path):
    policies = [block for block, value in documents() if "tools" in value]
    assert len(policies) >= 2
    for block in policies:
        policy = tmp_path / "policy.yaml"
        policy.write_text(block)
        load_policy(policy)


def test_parts_of_policies_have_keys_that_exist():
    known = {*PolicyDocument.model_fields, "confirm", "resource", "groups"}
    for block, value in documents():
        assert set(value) <= known | {"backend", "issuers", "listen", "store"}, block


def commands() -> list[str]:
    found = []
    for page in PAGES:
        for match in COMMAND.finditer(text(page).replace("\\\n", " ")):
            found.append(re.split(r" [|>] ", match[1])[0].strip().rstrip(".;,:"))
    return sorted(set(found))


@pytest.mark.parametrize("line", commands())
def test_every_command_line_is_understood(line):
    words = shlex.split(line)[1:]
    assert _parser().parse_args(["1" if word == "N" else word for word in words])


def test_options_that_are_not_enforced_are_named():
    told = section("README.md", "Not enforced yet")
    for command, option in (
        ("check", "--live"), ("explain", "--request-id"),
    ):  # fmt: skip
        assert option in told
        with pytest.raises(SystemExit):
            _parser().parse_args([*command.split(), option, *(["x"] if command != "check" else [])])
    listed = re.findall(r"^- `([^`]+)`", tables.config_later() + "\n" + tables.policy_later(), re.M)
    assert all(f"`{key}`" in told for key in listed if not key.startswith("plans."))


def test_pages_that_messages_name_are_there():
    source = "\n".join(text(path) for path in (ROOT / "sidecar").rglob("*.py"))
    named = set(re.findall(r"docs/[a-z]+\.md", source))
    assert {"docs/store.md", "docs/repair.md"} <= named
    assert [page for page in named if not (ROOT / page).exists()] == []


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text(page), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in LINK.findall(text(page)):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def test_every_page_is_linked_from_the_readme():
    linked = {(ROOT / target.partition("#")[0]).resolve() for target in LINK.findall(text(README))}
    assert {page for page in PAGES if page != README} <= linked


def test_the_readme_is_short_and_begins_with_problem_policy_command_and_refusal():
    lines = text(README).splitlines()
    assert len(lines) <= 200
    kinds = [kind for _, kind, _ in FENCE.findall("\n".join(lines[:60]))]
    assert kinds[:3] == ["yaml", "console", "json"]


def test_nothing_is_left_to_do():
    for page in [*PAGES, ROOT / "CHANGELOG.md", ROOT / "Dockerfile", *(ROOT / "deploy").iterdir()]:
        assert not re.search(r"\bTODO\b|\bFIXME\b|\bTBD\b", text(page)), page


# --- what the reader sees ----------------------------------------------------------------------


async def test_the_readmes_policy_gives_the_readmes_refusals(tmp_path, store_server):
    async with rig(tmp_path, store_server, policy=next(blocks(README, "yaml"))) as running:
        await running.account("ada", plan="any", credits=5)
        await running.grant()
        anonymous = await running.call("reveal_contacts", token=None)
        reply = await running.call("reveal_contacts", {"contact_ids": ["c-1", "c-2"]}, revision="2025-11-25", id_=1)
        assert running.backend.received == []
    assert reply.status == 200
    assert reply.json == json.loads(next(blocks(README, "json")))
    shown = next(blocks(README, "text")).partition(": ")[2]
    assert anonymous.status == 401
    assert re.sub(r":\d+/", ":8080/", anonymous.headers["WWW-Authenticate"]) == shown
