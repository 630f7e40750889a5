"""Scaffolds: they compile and pass their own tests, whatever a backend lists, and say what they left out."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.config.documents.merging import parse
from sidecar.config.settings.settings import settings_of
from sidecar.policy.drift.pins import pin_of
from sidecar.policy.language.compile import compile_policy
from sidecar.policy.rules import Policy
from sidecar.workbench.scaffolding.inventory import Inventory
from sidecar.workbench.scaffolding.other_entries import MAX_ENTRIES, MAX_PATTERNS
from sidecar.workbench.scaffolding.policy_scaffold import PolicyScaffold, policy_scaffold, slug
from sidecar.workbench.scaffolding.scaffold import CONFIG, BackendHeader, problems_of, scaffold
from sidecar.workbench.scaffolding.tool_entries import MAX_TOOLS, tool_entries
from sidecar.workbench.testing import run_tests

Json = dict[str, Any]
URLS: Any = {
    "backend": "http://127.0.0.1:8000/mcp",
    "resource": "https://mcp.example.com/mcp",
    "issuer": "https://example.com/api/auth",
}


def tool(name: str, properties: Json | None = None, required: list[str] | None = None, **more: Any) -> Json:
    schema: Json = {"type": "object", "properties": properties or {}}
    return {"name": name, "inputSchema": schema | ({"required": required} if required else {}), **more}


def hints(**given: bool) -> Json:
    return {"annotations": given}


def made(*tools: Any, **lists: Any) -> tuple[Policy, PolicyScaffold]:
    """The scaffold of a backend and its compiled policy, whose tests pass."""
    found = policy_scaffold(Inventory("shop", tools=tools, **lists))
    policy = compile_policy((parse("shop.yaml", found.text),))
    assert [str(outcome) for outcome in run_tests(policy) if not outcome.passed] == []
    return policy, found


def left_out(found: PolicyScaffold) -> list[str]:
    return [finding for finding in found.findings if "left out" in finding]


# --- tools ---------------------------------------------------------------------------------------


def test_a_tool_gets_scope_arguments_pin_and_test():
    definition = tool("get_order", {"id": {"type": "string"}}, ["id"], **hints(readOnlyHint=True))
    policy, found = made(definition)
    entry = policy.tools["get_order"]
    assert (entry.scopes, entry.confirm, entry.pin) == (("shop:read",), None, pin_of(definition))
    assert entry.arguments.declared == ("id",)
    assert [test.test.expect for test in policy.tests] == ["allow"]
    assert (found.findings, "DECIDE: read" in found.text) == ((), False)


@pytest.mark.parametrize(
    ("properties", "required", "argument", "inject"),
    [
        ({}, None, "confirm", True),
        ({"confirm": {"type": "boolean"}}, None, "confirm", False),
        ({"confirm_delete": {"type": "boolean"}}, ["confirm_delete"], "confirm_delete", False),
        ({"confirm": {"type": "boolean", "default": True}}, None, "confirm", False),
        ({"confirm": {"type": "string"}}, None, "confirm_call", True),
        ({"CONFIRM": {"type": "string"}}, None, "confirm_call", True),
        ({"verbose": {"type": "boolean"}}, None, "confirm", True),
        (
            {
                name: {}
                for name in ("confirm", "confirm_call", "confirmed_by_user", "confirm_this_call", "sidecar_confirm")
            },
            None,
            "confirm_1",
            True,
        ),
    ],
)
def test_destructive_tools_get_a_confirmation(properties: Json, required: Any, argument: str, inject: bool):
    policy, _ = made(tool("delete_order", properties, required, **hints(destructiveHint=True)))
    confirm = policy.tools["delete_order"].confirm
    assert confirm is not None
    assert (confirm.argument, confirm.inject) == (argument, inject)
    assert policy.tests[0].test.expect == "confirmation_required"


def test_external_tools_need_a_scope_of_their_own():
    policy, _ = made(tool("fetch", **hints(readOnlyHint=True, openWorldHint=True)))
    assert policy.tools["fetch"].scopes == ("shop:read", "shop:external")


@pytest.mark.parametrize(
    "name", ["on", "null", "true", "1", "007", "1e3", "~x".strip("~"), "y", "No", "-", "_", "a/b.c"]
)
def test_names_that_yaml_reads_in_its_own_way_are_declared_as_text(name: str):
    policy, found = made(tool(name))
    assert list(policy.tools) == [name]
    assert left_out(found) == []


@pytest.mark.parametrize(
    "name", ["{", "a b", "a\nb", "\x1b[2J", "é", "a" * 129, "", "a: b", "on #", "\U0001f600", "a\x00", None, 7, []]
)
def test_names_that_a_policy_cannot_declare_are_left_out_and_named(name: Any):
    policy, found = made(tool(name), tool("search"))
    assert list(policy.tools) == ["search"]
    assert len(left_out(found)) == 1
    assert all(finding.isascii() and finding.isprintable() for finding in found.findings)


def test_duplicates_and_look_alikes_are_reported():
    one, two = tool("a"), tool("a", {"x": {}})
    policy, found = made(one, one, tool("b"), tool("b", {"x": {}}), tool("b"), tool("A"), two | {"name": "c"})
    assert list(policy.tools) == ["a", "A", "c"]
    assert [finding for finding in found.findings if "twice" in finding or "two definitions" in finding] == [
        "tool 'a' is listed twice",
        "tool 'b' is listed twice",
        "tool 'b' is listed twice",
        "tool 'b' is left out: it is listed with two definitions",
    ]
    assert "tools 'a' and 'A' differ in upper and lower case only" in found.findings


def test_a_schema_that_cannot_be_adopted_leaves_the_arguments_open_and_is_marked():
    policy, found = made({"name": "search", "inputSchema": [], "annotations": {"readOnlyHint": True}})
    assert policy.tools["search"].arguments.declared == ()
    assert "# DECIDE: any arguments pass, because its input schema is not the schema of an object" in found.text


@pytest.mark.parametrize(
    ("values", "count", "most"),
    [(0, MAX_TOOLS + 9, MAX_TOOLS), (1800, 14, 12)],
    ids=["many tools", "large schemas"],
)
def test_a_list_that_would_make_the_file_too_large_is_cut(values: int, count: int, most: int):
    wide = {"a": {"enum": list(range(values))}}
    findings: list[str] = []
    entries = tool_entries([tool(f"get_{number}", wide) for number in range(count)], "shop", findings)
    assert 1 < len(entries) <= most
    assert findings[-1] == f"only the first {len(entries)} tools are declared: the file would be too large"


def test_a_backend_without_tools_gives_a_policy_that_says_so():
    policy, found = made()
    assert not policy.tools
    assert "empty: true" in found.text


# --- resources and prompts -----------------------------------------------------------------------


def uris(*texts: str) -> tuple[Json, ...]:
    return tuple({"uri": text} for text in texts)


def test_resources_templates_and_prompts_are_declared():
    templates = ({"uriTemplate": "docs://guides/{name}"},)
    resources = uris("docs://guides/one", "docs://faq", "docs://a*b", "not a uri", "docs://../x")
    prompts = tuple({"name": name} for name in ("greet", "on", "two words", "a*b", "greet"))
    policy, found = made(tool("a"), resources=resources, templates=templates, prompts=prompts, completions=True)
    assert list(policy.resources) == ["docs://guides/*", "docs://faq"]
    assert list(policy.prompts) == ["greet", "on", "two words"]
    assert list(policy.methods) == ["completion/complete"]
    assert len(left_out(found)) == 4


def test_many_resources_share_the_patterns_of_their_folders():
    policy, found = made(resources=uris(*(f"docs://{number % 3}/{number}" for number in range(MAX_ENTRIES + 5))))
    assert sorted(policy.resources) == ["docs://0/*", "docs://1/*", "docs://2/*"]
    assert f"of the entries with uri, only the first {MAX_ENTRIES} are read" in found.findings


def test_too_many_folders_are_cut():
    policy, found = made(resources=uris(*(f"docs://{number}/x" for number in range(MAX_PATTERNS * 2))))
    assert len(policy.resources) == MAX_PATTERNS
    assert f"resources: only the first {MAX_PATTERNS} patterns are declared" in found.findings


def test_patterns_that_tie_are_left_out():
    templates = ({"uriTemplate": "docs://{a}/x"}, {"uriTemplate": "docs://{a}/{b}"})
    policy, found = made(templates=templates)
    assert (list(policy.resources), len(left_out(found))) == (["docs://*/x"], 1)


# --- the whole -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("server", "name"),
    [
        ("mcp-servers/Every Thing", "every-thing"),
        ("Ünïcode", "n-code"),
        ("", "mcp"),
        ("../../etc/passwd", "passwd"),
        ("42", "mcp-42"),
        ("\x1b[2J", "mcp-2j"),
        ("a" * 500, "a" * 32),
        ("/", "mcp"),
        ("policies.yaml", "policies-yaml"),
    ],
)
def test_the_name_of_file_and_scopes(server: str, name: str):
    assert slug(server) == name


def test_the_config_loads_and_keeps_secrets_out():
    header = BackendHeader.from_environment("X-Api-Key")
    result = scaffold(Inventory("shop", tools=(tool("a"),)), **URLS, headers=(header,))
    assert list(result.files) == [CONFIG, "policies/shop.yaml"]
    assert problems_of(result) == ()
    settings = settings_of(parse(CONFIG, result.files[CONFIG]))
    assert (settings.resource, settings.backend.url) == (URLS["resource"], URLS["backend"])
    assert settings.backend.headers == {"X-Api-Key": "${BACKEND_X_API_KEY}"}
    assert all(text.startswith("# yaml-language-server: $schema=") for text in result.files.values())


@pytest.mark.parametrize(("key", "url"), [("resource", "mcp"), ("issuer", "http://example.com/"), ("backend", "a b")])
def test_urls_that_a_config_does_not_take_are_found_before_anything_is_written(key: str, url: str):
    assert key in problems_of(scaffold(Inventory("shop"), **{**URLS, key: url}))[0]


def test_a_public_url_on_this_machine_sets_the_port_to_listen_on():
    result = scaffold(Inventory("shop"), **{**URLS, "resource": "http://127.0.0.1:9000/mcp"})
    assert "listen: 127.0.0.1:9000\n" in result.files[CONFIG]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["on", "null", "{", "a", "A", "delete", "a\n", "x" * 200]) | JSON
ENTRIES = st.lists(
    JSON
    | st.fixed_dictionaries(
        {"name": NAMES},
        optional={
            "inputSchema": JSON
            | st.fixed_dictionaries(
                {"properties": st.dictionaries(NAMES.filter(lambda n: isinstance(n, str)), JSON, max_size=2)}
            ),
            "annotations": JSON | st.just({"destructiveHint": True}),
            "uri": NAMES,
            "uriTemplate": NAMES,
        },
    ),
    max_size=4,
).map(tuple)


@settings(max_examples=50)
@given(st.text(max_size=9), ENTRIES, ENTRIES, st.booleans())
def test_whatever_a_backend_lists_the_scaffold_is_a_policy(server: str, tools: Any, others: Any, completions: bool):
    inventory = Inventory(server, "\n", "", tools, others, others, others, completions, ("\x1b",))
    result = scaffold(inventory, **URLS)
    policy = compile_policy((parse("p.yaml", result.files[result.policy]),))
    assert all(outcome.passed for outcome in run_tests(policy))
    assert all(finding.isascii() and finding.isprintable() for finding in result.findings)
