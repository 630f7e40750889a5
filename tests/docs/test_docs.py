"""Check the documentation against the program."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from sidecar.cli import _parser, main
from sidecar.config.files import load_settings
from sidecar.config.settings.settings import Settings
from sidecar.errors import ErrorCode
from sidecar.ledger import receipts
from sidecar.observe.record import fields
from sidecar.observe.statuses import Status
from sidecar.outcome import Event, Exchange
from sidecar.policy.language.models import PolicyDocument
from sidecar.proxy.backend.forwarding import _RELAYED
from sidecar.workbench.loading import load_policy
from tests.docs import map, tables
from tests.docs.tables import PAGES, ROOT
from tests.support.rig import rig

README = ROOT / "README.md"
FENCE = re.compile(r"^( *)```(\w+)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
COMMAND = re.compile(r"(?:^|[|`$] ?|\.venv/bin/)(mcp-sidecar [a-z][^`|\n]*)")


PROVIDERS = sorted((ROOT / "docs" / "providers").glob("*.md"))
LINKING = [
    *PAGES,
    *PROVIDERS,
    *(ROOT / name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "tests/README.md")),
]
LINKING += sorted((ROOT / "examples").glob("*/README.md"))
BANNED = re.compile(r"\b(told|nobody|somebody|whoever|whomever|anew|beside)\b", re.IGNORECASE)


def text(page: Path) -> str:
    return page.read_text("utf-8")


def blocks(page: Path, language: str) -> Iterator[str]:
    for indent, kind, body in FENCE.findall(text(page)):
        if kind == language:
            yield "\n".join(line.removeprefix(indent) for line in body.splitlines())


def section(page: str, heading: str) -> str:
    """Return the text under a heading, up to the next one of any level."""
    return re.split(r"^#+ ", re.split(rf"^#+ {re.escape(heading)}\n", text(ROOT / page), flags=re.M)[1], flags=re.M)[0]


def first_column(page: str, heading: str) -> list[str]:
    return re.findall(r"^\| `([^`]+)` \|", section(page, heading), re.M)


# --- made from the code ------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tables_equal_the_code(page):
    assert text(page) == tables.rendered(text(page)), "run: python -m tests.docs.tables --write"


def test_every_table_is_used_once():
    assert sorted(tables.used()) == sorted(tables.TABLES)


def test_shorter_descriptions_replace_some_that_the_code_has():
    shown = [model.model_json_schema()["properties"].values() for model in tables.SHOWN_MODELS]
    assert set(tables._SHORTER) <= {entry["description"] for entries in shown for entry in entries}
    rows = {row.partition("`")[2].partition("`")[0] for row in tables.settings().splitlines()}
    assert set(tables._MEANINGS) | set(tables._TYPES) <= rows


def test_every_code_has_its_runbook_heading_and_every_heading_its_code():
    runbook = text(ROOT / "docs/errors.md").partition("# Runbook")[2]
    assert re.findall(r"^### (.+)$", runbook, re.M) == [code.id for code in ErrorCode]
    for entry in re.split(r"^### ", runbook, flags=re.M)[1:]:
        heading, _, body = entry.partition("\n")
        assert 1 <= len(body.strip().splitlines()) <= 5, heading


def test_the_settlement_page_names_every_event():
    assert all(f"`{event.value}`" in text(ROOT / "docs/settlement.md") for event in Event)


def test_the_log_page_names_every_field_in_order():
    line = [
        "ts",
        "level",
        "event",
        *fields(Exchange("1", 0.0), Status.OK, 0.0),
        "stream_end",
        "notes",
        "sample",
        "truncated",
    ]
    assert first_column("docs/log.md", "The line of a call") == line
    assert all(set(json.loads(each)) <= set(line) for each in blocks(ROOT / "docs/log.md", "json"))


def test_the_log_page_names_every_event():
    source = "\n".join(text(path) for path in (ROOT / "sidecar").rglob("*.py"))
    events = set(re.findall(r'\.(?:event\(|write\("[a-z]+",)\s*"([a-z_]+)"', source)) | {"library"}
    assert set(first_column("docs/log.md", "Other events")) == events


def test_the_receipts_shown_have_the_members_that_receipts_have():
    shown = [json.loads(each) for each in blocks(ROOT / "docs/receipts.md", "json")]
    entries = [entry for each in shown for kind in ("quotas", "credits") for entry in each.get(kind, {}).values()]
    members = {name for each in [*shown, *entries] for name in each}
    assert members == set(receipts.FIELDS)


def test_the_protocol_page_names_the_headers_that_are_relayed():
    answers = section("docs/protocol.md", "Answers").lower()
    assert all(f"`{name.lower()}`" in answers.lower() for name in _RELAYED)


def test_alerts_use_metrics_and_codes_that_exist():
    rules = yaml.safe_load(text(ROOT / "deploy/alerts.yaml"))["groups"][0]["rules"]
    names = {name.strip("`") for name, *_ in tables.metric_rows()}
    expressions = [rule["expr"] for rule in rules]
    expressions += [block for page in PAGES for block in blocks(page, "promql")]
    for expression in expressions:
        used = re.findall(r"(?:mcp_sidecar|process)_\w+", expression)
        assert used or "up ==" in expression
        assert {re.sub("_(?:bucket|count|sum)$", "", name) for name in used} <= names
        codes = "|".join(re.findall(r'code=~?"([^"]+)"', expression))
        assert set(filter(None, codes.split("|"))) <= {code.id for code in ErrorCode}


@pytest.mark.parametrize("page", LINKING, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_pages_keep_to_the_words_of_the_field(page):
    """Tables come from the code, whose own test checks its words."""
    assert BANNED.findall(tables.MARKED.sub("", text(page))) == []


def test_the_picture_shows_the_imports_of_the_code():
    assert text(map.PICTURE) == map.drawn(), "run: python -m tests.docs.map"


def test_files_that_the_development_page_names_exist():
    named = set(re.findall(r"`([a-z_]+/[a-z_/]+(?:\.(?:py|lua)|/))`", text(ROOT / "docs/development.md")))
    assert len(named) > 10
    assert [name for name in named if not (ROOT / name).exists() and not (ROOT / "sidecar" / name).exists()] == []


@pytest.mark.parametrize("name", tables.PUBLIC_SCRIPTS)
def test_the_script_command_prints_the_headers_shown(name: str, capsys):
    assert main(["script", name]) == 0
    printed = {line.removeprefix("--").strip() for line in capsys.readouterr().out.splitlines()}
    assert {
        line.strip()
        for line in next(iter(re.findall(r"```text\n(.*?)```", section("docs/scripts.md", name), re.S))).splitlines()
    } <= printed


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
        load_settings(shipped, {"STORE_PASSWORD": "canary"})


def test_policies_load_and_pass_their_tests(tmp_path):
    policies = [block for block, value in documents() if "tools" in value]
    assert len(policies) >= 2
    for block in policies:
        policy = tmp_path / "policy.yaml"
        policy.write_text(block)
        load_policy(policy)


def test_parts_of_policies_have_keys_that_exist():
    known = {*PolicyDocument.model_fields, "confirm", "pin", "resource", "groups", "tracing"}
    for block, value in documents():
        assert set(value) <= known | set(Settings.model_fields) | {"scrape_configs", "rule_files"}, block


def commands() -> list[str]:
    found = []
    for page in [*PAGES, *PROVIDERS]:
        for match in COMMAND.finditer(text(page).replace("\\\n", " ")):
            found.append(re.split(r" [|>] ", match[1])[0].strip().rstrip(".;,:"))
    return sorted(set(found))


@pytest.mark.parametrize("line", commands())
def test_command_lines_parse(line):
    words = shlex.split(line)[1:]
    assert _parser().parse_args(["1" if word == "N" else word for word in words])


def test_pages_that_messages_name_exist():
    source = "\n".join(text(path) for path in (ROOT / "sidecar").rglob("*.py"))
    named = set(re.findall(r"docs/[a-z]+\.md", source))
    assert {"docs/store.md", "docs/repair.md"} <= named
    assert [page for page in named if not (ROOT / page).exists()] == []


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text(page), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", LINKING, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_resolve(page):
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


def test_no_page_has_an_open_task():
    deployed = [path for path in (ROOT / "deploy").rglob("*") if path.is_file()]
    for page in [*PAGES, *PROVIDERS, ROOT / "CHANGELOG.md", ROOT / "Dockerfile", *deployed]:
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
