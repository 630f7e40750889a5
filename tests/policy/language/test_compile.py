"""One mistake at a time, then many at once: what the author of a policy reads."""

import json
from pathlib import Path

import pytest

from sidecar.bulk_strings import encode_words
from sidecar.config.documents.merging import parse
from sidecar.policy.language.compile import compile_policy
from sidecar.policy.language.models import PolicyDocument
from sidecar.terms import ConsentMode
from sidecar.window_rules import WINDOWS
from tests.policy.support import one_tool, policy, problems

EXAMPLE = Path(__file__).parents[3] / "policies" / "storeinspect.yaml"


def test_the_example_policy_compiles():
    compiled = compile_policy([parse("storeinspect.yaml", EXAMPLE.read_text())])
    assert compiled.scope_names == ("usage:read", "stores:read", "contacts:search", "contacts:reveal")
    assert compiled.base_scopes == compiled.scope_names
    assert compiled.consent is ConsentMode.REQUIRED
    assert compiled.plans is not None
    assert compiled.plans["business"].quotas["requests"] == {"minute": 600, "day": 5000}
    assert compiled.windows == {"contact": "month"}
    assert list(compiled.resources) == ["docs://*"]
    assert len(compiled.tests) == 24


def test_an_empty_policy_allows_nothing():
    compiled = policy("")
    assert (compiled.tools, compiled.plans, compiled.tests) == ({}, None, ())


# --- several files -----------------------------------------------------------------------------


def test_files_are_merged_name_by_name_and_keep_their_places():
    compiled = policy(
        "scopes: {s: A.}\ntools: {a: {scopes: [s]}}\ntests: [{name: x, call: {tool: a}, expect: insufficient_scope}]",
        "# second\ntools: {b: {scopes: [s]}}\ntests: [{name: y, call: {tool: b}, expect: insufficient_scope}]",
    )
    assert {name: tool.rule for name, tool in compiled.tools.items()} == {"a": "p1.yaml:2", "b": "p2.yaml:2"}
    assert [test.rule for test in compiled.tests] == ["p1.yaml:3", "p2.yaml:3"]


def test_a_name_or_a_section_given_twice_names_both_places():
    found = problems(
        "tools: {a: {scopes: []}}\nlisting: {}\ntests: [{name: x, call: {tool: a}, expect: allow}]",
        "tools: {a: {scopes: []}}\nlisting: {}\ntests: [{name: x, call: {tool: a}, expect: allow}]",
    )
    assert [problem.partition("; accepted")[0] for problem in found] == [
        "p2.yaml:1:9: tools.a: given twice, the first time at p1.yaml:1:9",
        "p2.yaml:2:1: listing: given twice, the first time at p1.yaml:2:1",
        "p2.yaml:3:16: tests[1].name: given twice, the first time at p1.yaml:3",
    ]


def test_the_revision_follows_the_meaning():
    one = policy("scopes: {s: A.}\ntools: {a: {scopes: [s]}}").revision
    assert one == policy("# a comment\nscopes:\n  s: A.", "tools: {a: {scopes: [s]}}").revision
    assert one != policy("scopes: {s: A.}\ntools: {a: {scopes: []}}").revision


# --- mistakes, one at a time -------------------------------------------------------------------

TOP = {
    "scopes: {a: A, b: {description: B, implies: [a, c]}}": "implies[1]: there is no scope 'c'; accepted: a, b",
    "scopes: {a: {description: A, implies: [a]}}": "scopes.a.implies: implies itself: a -> a; accepted: no cycle",
    'scopes: {"a b": A}': 'scopes["a b"]: not of the accepted form',
    "base_scopes: [x]": "base_scopes[0]: there is no scope 'x'; accepted: none is declared in scopes",
    "consent: maybe": "consent: not an accepted value; accepted: required or first_use",
    "manage_url: ftp://x": "manage_url: not of the accepted form",
    "listing: {missing_scope: no}": "listing.missing_scope: not an accepted value; accepted: show or hide",
    "quotas: {r: {week: 1}}": "quotas.r.week: unknown key; accepted: mode, minute, hour, day, month",
    "quotas: {r: {day: -1}}": "quotas.r.day: too small; accepted: at least 0",
    "quotas: {r: {day: 9007199254740992}}": "quotas.r.day: too large; accepted: at most 9007199254740991",
    "quotas: {r: {day: true}}": "quotas.r.day: true or false is given; accepted: an integer",
    "quotas: {r: {day: null}}": "quotas.r.day: nothing is given; accepted: an integer",
    "quotas: {r.x: {day: 1}}": 'quotas["r.x"]: not of the accepted form',
    "default_plan: free": "default_plan: there is no plan 'free'; accepted: none is declared in plans",
    "plans: {p: {tools: [x]}}": "plans.p.tools[0]: there is no tool 'x'; accepted: none is declared in tools",
    "plans: {p: {quotas: {q: {day: 1}}}}": "plans.p.quotas.q: there is no quota 'q'",
    "plans: {p: {credits: {c: {day: 1}}}}": "plans.p.credits.c: there is no pool of credits 'c'",
    "credits: {c: C}\nplans: {p: {credits: {c: {day: 1, hour: 1}}}}": "plans.p.credits.c: too many entries",
    "credits: {c: C}\nplans: {p: {credits: {c: {}}}}": "plans.p.credits.c: too few entries",
    "credits: {c: C}\nplans: {p: {credits: {c: {day: 1}}}, q: {credits: {c: {hour: 1}}}}": (
        "plans.q.credits.c.hour: another plan includes c per day; accepted: one window per pool"
    ),
    "plans: {p: {mode: shadow}}": "plans.p.mode: the plan has no list of tools",
    "plans: {p: {tools: [], mode: on}}": "plans.p.mode: not an accepted value; accepted: shadow",
    "quotas: {q: {day: 1, mode: trial}}": "quotas.q.mode: not an accepted value; accepted: shadow",
    "tols: {}": "tols: unknown key; accepted: scopes, base_scopes, consent",
    "tools: {t: {}}": "tools.t.scopes: required but missing",
    "tools: {t: }": "tools.t: nothing is given; accepted: a mapping",
    'tools: {"t*": {scopes: []}}': "tools.t*: not of the accepted form",
    "tools: {t: {scopes: [a]}}": "tools.t.scopes[0]: there is no scope 'a'",
    "tools: {t: {scopes: all}}": "tools.t.scopes: text is given; accepted: a list",
}

TOOL = {
    "rows: foo": "tools.t.rows: reads 'foo'; only arguments, meta, result and data can be read here",
    "uses: {nope: 1}": "tools.t.uses.nope: there is no quota 'nope'; accepted: requests, rows",
    "spends: {nope: 1}": "tools.t.spends.nope: there is no pool of credits 'nope'; accepted: credit",
    "uses: {rows: length(data.x)}": "tools.t.uses.rows: reads 'data'; only arguments and meta can be read here",
    "uses: {rows: arguments.limit}": "tools.t.uses.rows: reads the argument 'limit', which t does not declare",
    "rows: arguments.limit": "tools.t.rows: reads the argument 'limit', which t does not declare",
    "uses: {rows: 1.5}": "rows: a number with a fraction is given; accepted: an integer or text or a mapping",
    "uses: {rows: {}}": "tools.t.uses.rows: has neither or both of reserve and items",
    "uses: {rows: {reserve: 1, items: meta.x}}": "tools.t.uses.rows: has neither or both of reserve and items",
    "uses: {rows: {reserve: 1, each: 2}}": "tools.t.uses.rows.each: is used with items only",
    "spends: {credit: {items: meta.x, settle: 1}}": "tools.t.spends.credit.settle: an integer is given",
    "spends: {credit: {items: meta.x, each: 0}}": "tools.t.spends.credit.each: too small; accepted: at least 1",
    "timeout: 30": "tools.t.timeout: ",
    "timeout: soon": "tools.t.timeout: ",
    "serve: files": "tools.t.serve: not an accepted value; accepted: usage, connections or revoke_connection",
    "serve: connections\nconfirm: {by: person}": "tools.t.confirm: the sidecar answers this tool itself",
    "serve: revoke_connection\narguments: {}": "tools.t.arguments: the sidecar answers this tool itself",
    "serve: revoke_connection\nconfirm: {argument: client_id}": "tools.t.confirm.argument: 'client_id' is not",
    "serve: usage\ntimeout: 3s": "tools.t.timeout: the sidecar answers this tool itself",
    "on_unknown: guess": "tools.t.on_unknown: not an accepted value; accepted: settle or release",
    "confirm: {argument: x}": "tools.t.confirm.argument: 'x' is not declared in arguments",
    "confirm: {argument: x, mode: off}\narguments: {properties: {x: {}}}": "t.confirm.mode: not an accepted value",
    "confirm: {argument: x, inject: true}\narguments: {properties: {x: {}}}": "'x' is both injected and declared",
    "confirm: {argument: x}\narguments: {properties: {x: {type: string}}}": "'x' is not declared as a boolean",
    "confirm: {argument: x}\narguments: {properties: {x: {default: true}}}": "a default would confirm for the caller",
    "confirm: {}": "tools.t.confirm.argument: required but missing; accepted: the argument that confirms a call",
    "confirm: {by: people, argument: x, inject: true}": "confirm.by: not an accepted value; accepted: argument, p",
    "confirm: {argument: x, inject: true, or: argument}": "tools.t.confirm.or: no person is asked",
    "confirm: {argument: x, inject: true, title: T}": "tools.t.confirm.title: no person is asked",
    "confirm: {by: person, argument: x, inject: true}": "confirm.argument: by: person asks a person, and no argument",
    "confirm: {by: person, or: argument}": "tools.t.confirm.or: there is no argument to fall back to",
    "confirm: {by: page, inject: true}": "tools.t.confirm.inject: there is no argument to add",
    "confirm: {by: person, or: argument, argument: x}": "tools.t.confirm.argument: 'x' is not declared in arguments",
    "confirm: {by: person, message: 'Do {x}?'}": "confirm.message: shows 'x', which is not declared in arguments",
    "confirm: {by: person, message: 'Do {x?'}": "tools.t.confirm.message: has a { that belongs to no {argument}",
    "confirm: {by: person, title: ''}": "tools.t.confirm.title: too short",
    "arguments: {mode: warn}": "tools.t.arguments.mode: 'warn' is no mode; accepted: shadow, or not this key",
    "arguments: {mode: shadow, properties: {limit: {default: 5}}}\nuses: {rows: arguments.limit}": (
        "arguments.properties.limit.default: arguments in shadow mode add no default, and the price rows reads 'limit'"
    ),
    "arguments: {type: array}": "tools.t.arguments.type: arguments have another type; accepted: object",
    "arguments: {properties: {a: {maximun: 1}}}": "properties.a.maximun: no keyword of JSON Schema 2020-12",
    "arguments: {$id: x}": 'arguments["$id"]: no keyword',
    "arguments: {properties: {a: {$ref: 'http://x/y'}}}": "points outside of this schema; accepted: #/$defs/...",
    "arguments: {properties: {a: {$ref: '#/$defs/b'}}}": 'a["$ref"]: points at no schema; accepted: #/$defs/...',
    "arguments: {$ref: '#/x-b', x-b: {maximun: 1}}": 'arguments["$ref"]: points at no schema; accepted: #/$defs/...',
    "arguments: {properties: {a: {patternProperties: {^x-: {}}}}}": (
        'a.patternProperties["^x-"]: no literal name; accepted: ^name$, or propertyNames'
    ),
    "arguments: {properties: {a: {maximum: x}}}": "tools.t.arguments.properties.a.maximum: not valid JSON Schema",
    "arguments: {properties: {a: {type: strin}}}": "tools.t.arguments.properties.a.type: no type of JSON Schema",
    "arguments: {properties: {a: {pattern: '(?=a)'}}}": "tools.t.arguments.properties.a.pattern: not valid JSON Schema",
    "arguments: {properties: {a: {format: mial}}}": "tools.t.arguments.properties.a.format: not valid JSON Schema",
    "arguments: {$schema: 'http://json-schema.org/draft-07/schema#'}": "not the supported dialect",
    "arguments: {default: {}}": "tools.t.arguments.default: only top-level properties have a default",
    "arguments: {properties: {a: {items: {default: 1}}}}": "a.items.default: only top-level properties have a default",
    "arguments: {allOf: [{properties: {a: {default: 1}}}]}": "a.default: only top-level properties have a default",
    "arguments: {properties: {a: {default: 1, x-mcp-header: A}}}": "clients send this argument in a header as well",
    "arguments: {properties: {a: {type: string, default: 1}}}": "properties.a.default: does not match its own schema",
}


@pytest.mark.parametrize(("text", "expected"), TOP.items())
def test_a_mistake_in_a_section(text, expected):
    found = problems(text)
    assert len(found) == 1, found
    assert expected in found[0]


@pytest.mark.parametrize(("body", "expected"), TOOL.items())
def test_a_mistake_in_a_tool(body, expected):
    found = problems(one_tool(body))
    assert len(found) == 1, found
    assert expected in found[0]


TESTS = {
    "{name: x, call: {}, expect: allow}": "tests[0].call: names nothing to call",
    "{name: x, call: {tool: t, method: x}, expect: allow}": "tests[0].call: a tool is called by its name",
    "{name: x, call: {tool: t, prompt: x}, expect: allow}": "tests[0].call: names tool and prompt; accepted: one of",
    "{name: x, call: {method: x, prompt: x}, expect: allow}": "tests[0].call: x takes no prompt; accepted: the",
    "{name: x, call: {method: prompts/get}, expect: allow}": "what prompts/get refers to; accepted: prompt",
    "{name: x, call: {method: prompts/get, resource: x}, expect: allow}": "prompts/get takes no resource",
    "{name: x, call: {method: completion/complete}, expect: allow}": "refers to; accepted: prompt or resource",
    "{name: x, call: {resource: x, arguments: {a: 1}}, expect: allow}": "has arguments although its method takes none",
    "{name: x, call: {method: tools/call}, expect: allow}": "tests[0].call: a tool is called by its name",
    "{name: x, call: {tool: t}, expect: alow}": "tests[0].expect: 'alow' is no outcome",
    "{name: x, call: {tool: t}, expect: token_missing}": "tests[0].expect: 'token_missing' is no outcome",
    "{name: x, call: {tool: t}, expect: {allow: {quotas: {q: 1}}}}": "expect.allow.quotas.q: there is no quota",
    "{name: x, caller: {plan: p}, call: {tool: t}, expect: allow}": "tests[0].caller.plan: there is no plan 'p'",
    "{name: x, caller: {paid: {p: [a]}}, call: {tool: t}, expect: allow}": "tests[0].caller.paid.p: there is no pool",
    "{name: x, caller: {consent: {scopes: [z]}}, call: {tool: t}, expect: allow}": "scopes[0]: there is no scope",
    "{name: x, caller: {included: {credit: 1}}, call: {tool: t}, expect: allow}": "no plan includes these credits",
    "{name: x, call: {tool: t, confirmation: accepted}, expect: allow}": "call.confirmation: no person is asked",
    "{name: x, call: {method: ping, confirmation: accepted}, expect: allow}": "has a confirmation, which only a tool",
    "{name: x, call: {tool: t, confirmation: yes}, expect: allow}": "accepted, declined or unavailable",
    "{name: x, call: {tool: t}, expect: confirmation_expired}": "tests[0].expect: 'confirmation_expired' is no outcome",
    "{call: {tool: t}, expect: allow}": "tests[0].name: required but missing",
}


@pytest.mark.parametrize(("test", "expected"), TESTS.items())
def test_a_mistake_in_a_test(test, expected):
    found = problems(one_tool("") + f"tests: [{test}]")
    assert len(found) == 1, found
    assert expected in found[0]


@pytest.mark.parametrize("reference", ["#", "#/$defs/never", "#/properties/b", "#here", "#/allOf/0"])
def test_references_may_lead_to_any_schema_of_the_same_arguments(reference):
    schema = "b: {$anchor: here}}, allOf: [true], $defs: {never: false}"
    assert policy(one_tool(f"arguments: {{properties: {{a: {{$ref: '{reference}'}}, {schema}}}"))


def test_a_broken_test_does_not_hide_another():
    tests = "tests: [{name: a}, {name: b, call: {tool: t}, expect: alow}]"
    assert [problem.split(": ")[1] for problem in problems(one_tool("") + tests)] == [
        "tests[0].call",
        "tests[0].expect",
        "tests[1].expect",
    ]


def test_many_mistakes_are_reported_at_once_each_with_its_place():
    found = problems(
        """\
        scopes: {a: A, a: B}
        base_scopes: [b]
        resources: {"docs:": {scopes: [c]}}
        quotas: {requests: {minute: sixty}}
        plans: {free: {tools: [serach]}}
        tools:
          search:
            scopes: [a]
            surprise: 1
            arguments: {properties: {limit: {type: integer, default: x}}}
            uses: {requests: argument.limit}
            timeout: 010
          reveal: {scopes: []}
        """,
        """\
        tools: {reveal: {scopes: []}}
        defaults: {uses: {request: 1}}
        tests: [{name: x, call: {tool: search}, expect: alow}]
        """,
    )
    assert [problem.split(": ")[0] for problem in found] == [
        *("p1.yaml:1:16", "p1.yaml:2:15", "p1.yaml:3:32", "p1.yaml:4:29", "p1.yaml:5:24", "p1.yaml:9:5"),
        *("p1.yaml:10:62", "p1.yaml:11:22", "p1.yaml:12:14", "p2.yaml:1:9", "p2.yaml:2:19", "p2.yaml:3:49"),
    ]


# --- lists -------------------------------------------------------------------------------------

LISTS = """
scopes: {low: Low., high: {description: High., implies: [low]}}
plans: {free: {tools: [a]}, paid: {}}
default_plan: free
tools: {a: {scopes: [low]}, b: {scopes: [low]}, c: {scopes: [high]}}
"""


@pytest.mark.parametrize(
    ("listing", "scopes", "plan", "names"),
    [
        ("", (), "paid", "abc"),
        ("", (), "free", "a"),
        ("", ("high",), "gone", ""),
        ("", ("high",), None, ""),
        ("listing: {missing_plan: show}", (), "free", "abc"),
        ("listing: {missing_scope: hide}", ("low",), "paid", "ab"),
        ("listing: {missing_scope: hide}", ("high",), "paid", "abc"),
        ("listing: {missing_scope: hide}", ("low",), "free", "a"),
        ("listing: {missing_scope: hide}", (), "paid", ""),
    ],
)
def test_what_lists_show(listing, scopes, plan, names):
    compiled = policy(LISTS + listing)
    effective = compiled.effective(scopes, None)
    assert "".join(name for name in "abcx" if compiled.listed(name, effective, plan)) == names


def test_effective_scopes_are_expanded_on_both_sides_before_they_are_intersected():
    compiled = policy(LISTS)
    assert compiled.effective(["low"], ["high"]) == {"low"}
    assert compiled.effective(["high"], ["low"]) == {"low"}
    assert compiled.effective(["high", "openid"], None) == {"high", "low", "openid"}
    assert compiled.effective(["low"], []) == frozenset()


def test_the_terms_of_an_account_hold_every_quota_and_pool():
    compiled = policy(
        """\
        quotas: {a: {day: 1}, b: {hour: 2}}
        credits: {c: C}
        plans: {p: {tools: [], quotas: {a: {day: null}}, credits: {c: {month: 3}}}}
        """
    )
    assert compiled.account_terms.base.quotas == {"a": {"day": 1}, "b": {"hour": 2}}
    (plan,) = (compiled.account_terms.plans or {}).values()
    assert (plan.quotas, plan.credits) == ({"a": {}, "b": {"hour": 2}}, {"c": ("month", 3)})
    assert policy("").account_terms.plans is None


# --- for editors -------------------------------------------------------------------------------


def test_the_json_schema_describes_every_key():
    schema = PolicyDocument.model_json_schema()
    models = [schema, *schema["$defs"].values()]
    bare = [(m.get("title"), k) for m in models for k, v in m.get("properties", {}).items() if "description" not in v]
    assert bare == []


def test_terms_are_encoded_when_the_policy_is_compiled():
    tool = policy("""
        quotas: {rows: {day: 5}}
        credits: {contact: One.}
        default_plan: free
        plans: {free: {credits: {contact: {month: 3}}}, none: {tools: []}}
        scopes: {read: Read.}
        tools: {t: {scopes: [read], uses: {rows: 1}, spends: {contact: 1}}}
    """).tools["t"]
    daily = [WINDOWS.index("day") + 1, "day", 5]
    free = json.dumps({"quotas": {"rows": [daily]}, "credits": {"contact": ["month", 3]}}, separators=(",", ":"))
    assert tool.terms.encoded == encode_words("required", "free", '[["read"]]', 2, "free", free, "none", "", "t")
    assert tool.unscoped_terms.encoded == encode_words("required", "free", "", 2, "free", free, "none", "", "t")
