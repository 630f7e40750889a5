"""Resources, prompts and methods as they are declared: the same grammar as tools, and every mistake at its place."""

from __future__ import annotations

from textwrap import dedent

import pytest

from sidecar.model import AmountKind, OnUnknown
from sidecar.policy.rules import Kind
from tests.policy.support import policy, problems

HEAD = """\
scopes: {s: A scope., wide: {description: Wide., implies: [s]}}
quotas: {requests: {minute: 60}, rows: {month: 100}}
credits: {coin: One.}
plans:
  free: {resources: ["docs://*"], prompts: [greet], quotas: {requests: {minute: 5}}}
  paid: {credits: {coin: {month: 3}}}
  none: {resources: [], prompts: []}
defaults: {uses: {requests: 1}}
tools: {t: {scopes: []}}
"""
DECLARED = """\
resources:
  "docs://*": {scopes: [s], uses: {requests: 2}}
  "docs://paid/*":
    scopes: [s, wide]
    uses: {requests: 1, rows: {reserve: meta.rows, settle: length(data)}}
    spends: {coin: {items: meta.ids, settle: "result.contents[].uri", once: true}}
    timeout: 30s
prompts:
  greet: {scopes: []}
  Say hello, in French: {scopes: [s], spends: {coin: 1}, on_unknown: settle}
methods:
  completion/complete: {scopes: [s], uses: {requests: 1}}
  acme/thing.v2: {scopes: []}
  notifications/acme: {scopes: []}
"""
COMPILED = policy(HEAD + DECLARED)


def test_entries_are_compiled_with_their_places():
    operations = {each.name: (each.kind, each.scopes, each.rule) for each in COMPILED.operations}
    assert operations == {
        "t": (Kind.TOOL, (), "p1.yaml:9"),
        "docs://*": (Kind.RESOURCE, ("s",), "p1.yaml:11"),
        "docs://paid/*": (Kind.RESOURCE, ("s", "wide"), "p1.yaml:12"),
        "greet": (Kind.PROMPT, (), "p1.yaml:18"),
        "Say hello, in French": (Kind.PROMPT, ("s",), "p1.yaml:19"),
        "completion/complete": (Kind.METHOD, ("s",), "p1.yaml:21"),
        "acme/thing.v2": (Kind.METHOD, (), "p1.yaml:22"),
        "notifications/acme": (Kind.METHOD, (), "p1.yaml:23"),
    }
    assert COMPILED.resources["docs://paid/*"].scopes_rule == "p1.yaml:13"


def test_amounts_are_those_of_tools_and_defaults_are_not_for_them():
    paid = COMPILED.resources["docs://paid/*"]
    amounts = [(each.kind, each.name, each.fixed, each.once) for each in paid.prices.amounts]
    assert amounts == [
        (AmountKind.QUOTA, "requests", True, False),
        (AmountKind.QUOTA, "rows", False, False),
        (AmountKind.CREDIT, "coin", False, True),
    ]
    assert (paid.timeout, paid.on_unknown) == (30.0, OnUnknown.SETTLE)
    assert paid.meta is not None
    assert set(paid.meta.children) == {"rows", "ids"}
    greet, hello = COMPILED.prompts.values()
    assert greet.prices.amounts == ()
    assert (greet.timeout, greet.on_unknown, hello.on_unknown) == (None, OnUnknown.RELEASE, OnUnknown.SETTLE)


def test_subscribing_uses_what_is_fixed_and_spends_nothing():
    paid, plain = COMPILED.resources["docs://paid/*"], COMPILED.resources["docs://*"]
    assert [each.name for each in paid.watching.prices.amounts] == ["requests"]
    assert [each.name for each in plain.watching.prices.amounts] == ["requests"]
    assert (paid.watching.scopes, paid.watching.terms) == (paid.scopes, paid.terms)


def test_terms_hold_the_plans_and_what_implies_the_scopes():
    wide, plain = COMPILED.resources["docs://paid/*"].terms, COMPILED.resources["docs://*"].terms
    assert wide.scopes == (("s", "wide"), ("wide",))
    allowed = {name: terms.allowed for name, terms in (wide.plans or {}).items()}
    assert allowed == {"free": False, "paid": True, "none": False}
    assert {name: terms.allowed for name, terms in (plain.plans or {}).items()} == {
        "free": True,
        "paid": True,
        "none": False,
    }
    assert (plain.plans or {})["free"].quotas == {"requests": {"minute": 5}}
    assert COMPILED.resources["docs://*"].unscoped_terms.scopes == ()
    methods = COMPILED.methods["acme/thing.v2"].terms.plans or {}
    assert all(terms.allowed for terms in methods.values())  # plans do not narrow methods


@pytest.mark.parametrize(
    ("kind", "name", "plan", "included"),
    [
        (Kind.RESOURCE, "docs://*", "free", True),
        (Kind.RESOURCE, "docs://paid/*", "free", False),
        (Kind.RESOURCE, "docs://paid/*", "paid", True),
        (Kind.RESOURCE, "docs://*", "none", False),
        (Kind.RESOURCE, "docs://*", "gone", False),
        (Kind.RESOURCE, "docs://*", None, False),
        (Kind.PROMPT, "greet", "free", True),
        (Kind.PROMPT, "greet", "none", False),
        (Kind.TOOL, "t", "none", True),
        (Kind.METHOD, "acme/thing.v2", "none", True),
    ],
)
def test_what_plans_include(kind: Kind, name: str, plan: str | None, included: bool):
    assert COMPILED.included(kind, name, plan) is included
    assert policy("tools: {t: {scopes: []}}").included(kind, name, plan)


@pytest.mark.parametrize("section", ["resources", "prompts", "methods"])
def test_empty_sections_are_fine(section: str):
    assert list(policy(f"{section}: {{}}").operations) == []


def test_files_are_merged_and_patterns_too():
    merged = policy('resources: {"a://*": {scopes: []}}', 'resources: {"b://*": {scopes: []}}')
    assert merged.patterns.find("a://x") == "a://*"
    assert merged.patterns.find("b://x") == "b://*"
    (found,) = problems('resources: {"a://*": {scopes: []}}', 'resources: {"a://*": {scopes: []}}')
    assert "given twice, the first time at p1.yaml:1:13" in found


def test_an_entry_may_be_named_like_a_mode():
    assert policy("prompts: {mode: {scopes: []}}\nmethods: {mode: {scopes: []}}").prompts["mode"].name == "mode"


# --- mistakes ------------------------------------------------------------------------------------

MISTAKES = {
    'resources: {"docs://*": {}}': "resources.docs://*.scopes: required but missing",
    'resources: {"docs://*": {scopes: [x]}}': "scopes[0]: there is no scope 'x'",
    'resources: {"docs://*": {scopes: [], arguments: {}}}': "arguments: unknown key; accepted: scopes, uses, spends",
    'resources: {"docs://*": {scopes: [], confirm: {argument: a}}}': "confirm: unknown key",
    'resources: {"docs://*": {scopes: [], rows: data}}': "rows: unknown key",
    'resources: {"docs://*": {scopes: [], mode: shadow}}': "mode: shadow mode is not available here",
    'resources: {"": {scopes: []}}': "not of the accepted form",
    'resources: {"docs://a b": {scopes: []}}': "not of the accepted form",
    "resources: {taxonomy: {scopes: []}}": "no accepted URI can match this pattern. A URI must begin with its scheme.",
    'resources: {"docs://a/../*": {scopes: []}}': "can match this pattern. A URI must not contain dot segments.",
    'resources: {"*/./x": {scopes: []}}': "can match this pattern. A URI must not contain dot segments.",
    'resources: {"docs://a%2Fb*": {scopes: []}}': "can match this pattern. A URI must not contain backslashes",
    'resources: {"https://a@*": {scopes: []}}': "can match this pattern. The URI of a resource must not name a user.",
    'resources: {"docs://a#*": {scopes: []}}': "this pattern. The URI of a resource must not have a fragment.",
    'resources: {"docs://*": {scopes: []}, "docs://*x": {scopes: []}}': (
        "a URI can match both this and 'docs://*' at p1.yaml:1, and neither is more specific"
    ),
    'resources: {"docs://*": {scopes: [], uses: {x: 1}}}': "uses.x: there is no quota 'x'",
    'resources: {"docs://*": {scopes: [], spends: {x: 1}}}': "spends.x: there is no pool of credits 'x'",
    'resources: {"docs://*": {scopes: [], timeout: 5}}': "timeout: ",
    'resources: {"docs://*": {scopes: [], on_unknown: x}}': "on_unknown: not an accepted value",
    'prompts: {"greet*": {scopes: []}}': "not of the accepted form",
    'prompts: {" greet": {scopes: []}}': "not of the accepted form",
    "prompts: {greet: {scopes: all}}": "prompts.greet.scopes: text is given; accepted: a list",
    "methods: {tools/call: {scopes: []}}": (
        "methods.tools/call: declared by the named entry; accepted: entries of tools"
    ),
    "methods: {resources/read: {scopes: []}}": "declared by the named entry; accepted: entries of resources",
    "methods: {resources/subscribe: {scopes: []}}": "declared by the named entry; accepted: entries of resources",
    "methods: {resources/unsubscribe: {scopes: []}}": "declared by the named entry; accepted: entries of resources",
    "methods: {prompts/get: {scopes: []}}": "declared by the named entry; accepted: entries of prompts",
    "methods: {Logging/SetLevel: {scopes: []}}": "in upper and lower case only; accepted: logging/setLevel",
    "methods: {RESOURCES/READ: {scopes: []}}": "in upper and lower case only; accepted: resources/read",
    'methods: {"a b": {scopes: []}}': "not of the accepted form",
    'methods: {"acme/*": {scopes: []}}': "not of the accepted form",
    "plans: {p: {resources: [x]}}": "plans.p.resources[0]: there is no resource 'x'; accepted: none is declared in",
    "plans: {p: {prompts: [x]}}": "plans.p.prompts[0]: there is no prompt 'x'; accepted: none is declared in prompts",
    "plans: {p: {methods: []}}": "plans.p.methods: unknown key; accepted: tools, resources, prompts",
}
ALWAYS = [
    *("initialize", "server/discover", "ping", "tools/list", "resources/list", "resources/templates/list"),
    *("prompts/list", "notifications/initialized", "notifications/cancelled", "notifications/progress"),
    "notifications/roots/list_changed",
]


@pytest.mark.parametrize(("text", "expected"), MISTAKES.items())
def test_a_mistake(text: str, expected: str):
    found = problems(text)
    assert len(found) == 1, found
    assert expected in found[0]


@pytest.mark.parametrize("method", ALWAYS)
def test_methods_without_declaration_cannot_be_declared(method: str):
    (found,) = problems(f"methods: {{{method}: {{scopes: []}}}}")
    assert "needs no declaration and has no price; accepted: other methods" in found


@pytest.mark.parametrize(
    ("section", "amount", "expected"),
    [
        ("resources", "uses: {rows: arguments.n}", "reads 'arguments'; only meta can be read here; arguments can be"),
        (
            "prompts",
            "uses: {rows: arguments.n}",
            "arguments can be declared for tools only; accepted: JMESPath over meta",
        ),
        ("methods", "spends: {coin: {items: arguments.ids}}", "spends.coin.items: reads 'arguments'; only meta"),
        ("prompts", "uses: {rows: length(data)}", "reads 'data'; only meta can be read here"),
        (
            "prompts",
            "uses: {rows: {reserve: 1, settle: length(arguments.x)}}",
            "reads 'arguments'; only meta, result and data can be read here",
        ),
        ("methods", "uses: {rows: '@'}", "must read meta by name, not all at once"),
    ],
)
def test_what_amounts_may_read(section: str, amount: str, expected: str):
    name = "docs://*" if section == "resources" else "x"
    text = dedent(
        f"""\
        quotas: {{rows: {{month: 1}}}}
        credits: {{coin: C}}
        {section}:
          "{name}": {{scopes: [], {amount}}}
        """
    )
    (found,) = problems(text)
    assert expected in found


@pytest.mark.parametrize("section", ["tools", "prompts"])
def test_more_amounts_than_a_hold_allows_are_refused(section: str):
    names = [f"q{number}" for number in range(100)]
    quotas = ", ".join(f"{name}: {{day: 1}}" for name in names)
    uses = ", ".join(f"{name}: 1" for name in names)
    head = f"quotas: {{{quotas}}}\ncredits: {{coin: C}}\n"
    policy(f"{head}{section}: {{x: {{scopes: [], uses: {{{uses}}}}}}}")
    (found,) = problems(f"{head}{section}: {{x: {{scopes: [], uses: {{{uses}}}, spends: {{coin: 1}}}}}}")
    assert found.endswith(f"{section}.x: has 101 amounts, uses and spends together; accepted: at most 100")


@pytest.mark.parametrize("method", ["tasks/list", "tasks/result", "tasks/cancel", "notifications/tasks/status"])
def test_a_method_of_tasks_needs_tasks_get_because_only_that_binds_tasks_to_callers(method: str):
    (problem,) = problems(f"methods: {{{method}: {{scopes: []}}}}")
    assert problem.endswith("tasks are not served; accepted: this together with tasks/get")
    policy(f"methods: {{{method}: {{scopes: []}}, tasks/get: {{scopes: []}}}}")
