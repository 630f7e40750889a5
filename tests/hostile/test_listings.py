"""Lists of the backend, and URIs of callers, that cost more than their bytes."""

from __future__ import annotations

import json
import sys
from typing import Any
from urllib.parse import quote

import orjson
import pytest

from sidecar.model import Call, CallKind, Revision
from sidecar.policy.patterns import Patterns
from sidecar.protocol.uris import uris
from sidecar.proxy.relay.backend_tools import BackendTools
from sidecar.proxy.relay.listings import Viewer, editor
from tests.hostile.bodies import UNSORTED
from tests.hostile.work import assert_linear
from tests.policy.support import policy

MOST = uris.MAX_LENGTH
PATTERNS = Patterns(["docs://*", "docs://h/*", "docs://h/secret", "docs://h/secret/*", "docs://*/public"])
# Judged by the complete rules, because of its three layers.
HONEST = ("docs://h/%252541" + quote("Tiếng Việt/") * MOST)[: MOST - 2].rstrip("%")


def judge(uri: str) -> None:
    if uris.fault(uri) is None:
        found = PATTERNS.find(uri)
        assert found is not None
        PATTERNS.ambiguous(uri, found)


def repeated(text: str) -> str:
    return ("docs://" + text * MOST)[:MOST]


URIS = {
    "unsorted marks": repeated(UNSORTED),
    "encoded unsorted marks": "docs://" + quote(UNSORTED * 680),
    "marks and invisible characters": "docs://" + quote((UNSORTED[:1] + "\u200b") * 400),
    "as many marks as are accepted": repeated("a" + UNSORTED * 15),
    "characters that stand for eighteen": "docs://" + "\ufdfa" * 900,
    "letters that grow": repeated("\u0390\u00df"),
    "letters that grow and dots": repeated("\u0390."),
    "dots": repeated(".")[:-1] + "x",
    "dots and spaces": "docs://" + quote(". ") * 2000 + "x",
    "slashes": repeated("/"),
    "parameters": repeated(";/"),
    "ports": repeated(":80"),
    "layers of encoding": repeated("%252541")[: MOST - 10],
    "different characters": "docs://" + "".join(map(chr, range(0x4E00, 0x4E00 + MOST - 10))),
    "braces": repeated("{"),
}


@pytest.mark.parametrize("uri", URIS.values(), ids=URIS)
def test_a_uri_costs_what_its_bytes_cost(uri: str):
    benign = HONEST * (1 + len(uri.encode()) // len(HONEST))
    parts = [benign[start : start + len(HONEST)] for start in range(0, len(benign), len(HONEST))]

    def judge_parts() -> None:
        for part in parts:
            judge(part)

    assert_linear(lambda: judge(uri), judge_parts)


POLICY = policy(
    """
    scopes: {read: Read.}
    tools: {search: {scopes: [read]}}
    resources: {"docs://*": {scopes: [read]}, "docs://secret/*": {scopes: [read]}}
    """
)
ENTRIES = 2_000
LISTS = {
    "tools of marks": ("tools/list", "tools", {"name": UNSORTED * 20}),
    "tools of one letter": ("tools/list", "tools", {"name": "a"}),
    "templates of marks": ("resources/templates/list", "resourceTemplates", {"uriTemplate": f"docs://{UNSORTED * 50}"}),
    "templates of braces": ("resources/templates/list", "resourceTemplates", {"uriTemplate": "docs://" + "{" * 200}),
    "resources of marks": ("resources/list", "resources", {"uri": f"docs://{UNSORTED * 50}"}),
    "resources of dots": ("resources/list", "resources", {"uri": "docs://" + "." * 200 + "x"}),
}


@pytest.mark.parametrize(("method", "member", "entry"), LISTS.values(), ids=LISTS)
def test_a_list_costs_what_its_bytes_cost(method: str, member: str, entry: dict[str, Any]):
    (key,) = entry
    size = len(json.dumps(entry))
    call = Call(CallKind.REQUEST, Revision.V2025_11_25, method, id=1)
    edit = editor(call, POLICY, Viewer(None, frozenset({"read"})), BackendTools(POLICY))
    assert edit is not None
    honest = {key: "search" if key == "name" else f"docs://{'a' * size}."}  # judged by the complete rules
    assert_linear(lambda: edit({member: [entry] * ENTRIES}), lambda: edit({member: [honest] * ENTRIES}))
    assert edit({member: [honest]})[member] == [honest]


def test_one_long_template_of_marks_is_not_folded_for_a_list():
    call = Call(CallKind.REQUEST, Revision.V2025_11_25, "resources/templates/list", id=1)
    edit = editor(call, POLICY, Viewer(None, frozenset({"read"})), BackendTools(POLICY))
    assert edit is not None
    hostile, honest = ({"resourceTemplates": [{"uriTemplate": f"docs://{text * 50_000}"}]} for text in (UNSORTED, "ab"))
    assert_linear(lambda: edit(hostile), lambda: edit(honest))


ORDINARY = [
    *(
        "docs://A{}",
        "docs:///a{}",
        "docs://a?{}",
        "docs://a/{}/",
        "docs://a{}.",
        "docs://.{}",
        "docs://h/{}:80",
        "docs://;{}",
    ),
    *(
        "docs://a%41{}",
        "docs://a%20{}",
        "docs://a%25-{}",
        "docs://\u00e9{}",
        "docs://%C3%A9{}",
        "docs://\u4e2d\u6587{}",
    ),
    *(
        "docs://\u0939\u093f{}",
        "docs://e\u0301{}",
        "docs://\uac00{}",
        "docs://{}\uff21",
        "docs://{}\uff1a",
        "docs://{}\U0001f600",
    ),
]


@pytest.mark.parametrize("uri", ORDINARY)
def test_most_uris_of_a_list_take_a_few_steps(uri: str):
    """A URI that takes all rules costs thirteen microseconds: more than its bytes may, where it is short."""
    ordinary = [uri.format(number + 100) for number in range(ENTRIES)]
    assert_linear(
        lambda: [(uris.fault(each), uris.readings(each)) for each in ordinary],
        lambda: [(uris.complete_fault(each), uris.complete_readings(each)) for each in ordinary],
        most=0.6,
    )


@pytest.mark.parametrize(
    "uri", ["docs://%C3{}", "docs://a%252f{}", "docs://u%40h/{}", "docs://h/%20../{}", "docs://a@{}"]
)
def test_a_list_of_refused_uris_costs_what_accepted_ones_cost(uri: str):
    refused, accepted = ([text.format(number) for number in range(ENTRIES)] for text in (uri, "docs://a%41{}"))
    assert_linear(
        lambda: [*map(PATTERNS.find_certain, refused)], lambda: [*map(PATTERNS.find_certain, accepted)], most=2
    )
    assert not any(map(PATTERNS.find_certain, refused))


@pytest.mark.parametrize("uri", ["docs://{}", "docs://folder/document-{}.md"])
def test_entries_of_a_list_with_a_settled_uri_cost_half(uri: str):
    """A list of 5,000 short entries once took three times what its bytes may take."""
    call = Call(CallKind.REQUEST, Revision.V2025_11_25, "resources/list", id=1)
    edit = editor(call, POLICY, Viewer(None, frozenset({"read"})), BackendTools(POLICY))
    assert edit is not None
    settled = {"resources": [{"uri": uri.format(number)} for number in range(ENTRIES)]}
    ordinary = {"resources": [{"uri": f"{each['uri']}."} for each in settled["resources"]]}
    assert_linear(lambda: edit(settled), lambda: edit(ordinary), most=1 / 2)
    assert edit(settled) == settled
    assert edit(ordinary) == ordinary


RULES = ", ".join(f"a{number}: {{type: string, maxLength: 9}}" for number in range(50))
NARROWING = "scopes: {{read: Read.}}\nlisting: {{narrow: {}}}\ntools: {{search: {{scopes: [read], arguments: {}}}}}"


def edited(narrow: str, tools: list[dict[str, Any]]) -> None:
    compiled = policy(NARROWING.format(narrow, f"{{properties: {{{RULES}}}, additionalProperties: false}}"))
    call = Call(CallKind.REQUEST, Revision.V2025_11_25, "tools/list", id=1)
    edit = editor(call, compiled, Viewer(None, frozenset({"read"})), BackendTools(compiled))
    assert edit is not None
    edit({"tools": tools})


def test_a_tool_that_is_listed_again_and_again_is_narrowed_once():
    """Each of these short definitions would become one with all rules of the policy."""
    tools = [{"name": "search", "inputSchema": {"type": "object", "title": str(n)}} for n in range(ENTRIES)]
    assert_linear(lambda: edited("true", tools), lambda: edited("false", tools), most=2)


def calls(wide: int, schema: dict[str, Any]) -> int:
    """Function calls of a backend's first list, by the number of properties that the policy describes for each tool."""
    rules = ", ".join(f"a{number}: {{type: string, enum: [x, y], maxLength: 9}}" for number in range(wide))
    arguments = f"{{properties: {{{rules}}}, required: [a0], additionalProperties: false}}"
    names = [f"t{number}" for number in range(20)]
    tools = "".join(f"\n  {name}: {{scopes: [read], arguments: {arguments}}}" for name in names)
    compiled = policy(f"scopes: {{read: Read.}}\ntools:{tools}")
    call = Call(CallKind.REQUEST, Revision.V2025_11_25, "tools/list", id=1)
    edit = editor(call, compiled, Viewer(None, frozenset({"read"})), BackendTools(compiled))
    assert edit is not None
    events: list[str] = []
    sys.setprofile(lambda _frame, event, _argument: events.append(event))
    try:
        result = edit({"tools": [{"name": name, "inputSchema": schema} for name in names]})
    finally:
        sys.setprofile(None)
    listed = orjson.loads(orjson.dumps(result))["tools"]
    assert [len(tool["inputSchema"]["properties"]) for tool in listed] == [wide] * len(names)
    return sum(event in ("call", "c_call") for event in events)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {"type": "object", "properties": {}},
        {},
        {"properties": {"a0": {}}},
        {"properties": {"a0": {"type": "string"}}, "required": []},
        {"required": ["a0"]},
    ],
)
def test_what_only_the_policy_says_is_prepared_before_the_first_list(schema: dict[str, Any]):
    """A list of short definitions once cost what the policy says about each, twice what its bytes may."""
    assert calls(50, schema) == calls(2, schema) < 20 * 100


# --- schemas of a policy in a backend's list ------------------------------------------------------

_MEMBERS = ", ".join(f"p{number}: {{type: string, maxLength: 9, enum: [a, b]}}" for number in range(40))
WIDE = policy(
    "scopes: {s: S}\ntools:\n"
    f"  t: {{scopes: [s], arguments: {{properties: {{{_MEMBERS}}}, required: [p1], additionalProperties: false}}}}\n"
)


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"p1": {"enum": [1, 2] * 20_000}}},
        {"properties": {"p1": {"type": ["number", "integer"] * 10_000}}},
        {"required": ["p1", "x"] * 10_000},
        {"additionalProperties": {"description": "x" * 100_000}},
    ],
    ids=["values", "types", "required", "others"],
)
def test_a_long_schema_of_a_backend_is_narrowed_in_a_few_passes(schema: Any):
    text, narrowing = orjson.dumps(schema), WIDE.tools["t"].arguments.narrowing
    assert narrowing is not None

    def narrowed() -> object:
        return orjson.dumps(narrowing.arguments(orjson.loads(text)))

    assert_linear(narrowed, lambda: orjson.dumps(orjson.loads(text)), most=20)


def test_a_list_of_the_sidecars_own_is_learnt_in_slices():
    tools = BackendTools(WIDE)
    definitions: list[dict[str, Any]] = [{"name": f"t{number or ''}", "inputSchema": {}} for number in range(1000)]
    slices = list(tools.learning(definitions))
    assert len(slices) == 20
    assert tools.listed
