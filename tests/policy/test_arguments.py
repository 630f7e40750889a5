import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import ErrorCode
from sidecar.policy.decide import decide
from tests.policy.support import call, caller, judge, one_tool, policy, request

TOOL = one_tool(
    """
    arguments:
      properties:
        limit: {type: integer, minimum: 1, maximum: 100, default: 25}
        ids: {type: array, items: {type: string}, maxItems: 3}
        filter: {type: object, properties: {country: {type: string}}}
        kind: {enum: [shop, person]}
    uses: {rows: arguments.limit}
    """
)
COMPILED = policy(TOOL)


def refused(text, arguments):
    refusal = judge(text, "t", arguments).refusal
    return refusal and refusal.code


@pytest.mark.parametrize("arguments", [None, {}, {"ids": ["a"]}])
def test_defaults_are_judged_priced_and_forwarded(arguments):
    decision = judge(TOOL, "t", arguments)
    assert decision.refusal is None
    assert decision.document is not None
    assert decision.document["params"]["arguments"] == {**(arguments or {}), "limit": 25}
    assert decision.demands[0].reserve == 25


def test_arguments_without_missing_defaults_are_forwarded_unchanged():
    decision = judge(TOOL, "t", {"limit": 3, "undeclared": {"x": 2**70}})
    assert decision.document is not None
    assert decision.document["params"]["arguments"] == {"limit": 3, "undeclared": {"x": 2**70}}


def test_null_is_no_absence():
    assert refused(TOOL, {"limit": None}) is ErrorCode.ARGUMENTS_REFUSED


@pytest.mark.parametrize(
    ("arguments", "sentence", "argument", "keyword"),
    [
        ({"limit": "hunter2"}, "limit must be of type integer.", "limit", "type"),
        ({"limit": 101}, "limit must be at most 100.", "limit", "maximum"),
        ({"limit": 0}, "limit must be at least 1.", "limit", "minimum"),
        ({"ids": ["a", 7]}, "ids[1] must be of type string.", "ids[1]", "type"),
        ({"ids": ["hunter2"] * 4}, "ids must have at most 3 elements.", "ids", "maxItems"),
        ({"filter": {"country": 7}}, "filter.country must be of type string.", "filter.country", "type"),
        ({"kind": "hunter2"}, "kind must be one of shop, person.", "kind", "enum"),
    ],
)
def test_messages_say_what_is_accepted_and_never_what_was_sent(arguments, sentence, argument, keyword):
    refusal = judge(TOOL, "t", arguments).refusal
    assert refusal is not None
    assert refusal.detail == sentence
    assert refusal.specifics == {"argument": f"arguments.{argument}", "keyword": keyword, "arguments": sentence}
    assert refusal.rule == "p1.yaml:7"
    assert "hunter2" not in json.dumps([refusal.detail, dict(refusal.data), refusal.log])


@pytest.mark.parametrize(
    "closed",
    [
        "arguments: {properties: {a: {}}, additionalProperties: false}",
        "arguments: {properties: {a: {}}, unevaluatedProperties: false}",
        "arguments: {properties: {a: {}}, propertyNames: {maxLength: 1}}",
    ],
)
def test_names_that_the_caller_made_up_are_not_repeated(closed):
    refusal = judge(one_tool(closed), "t", {"a": 1, "hunter2": 2}).refusal
    assert refusal is not None
    assert refusal.detail == "The call has arguments that this tool does not accept; it accepts a."


def test_a_made_up_name_in_a_path_is_not_repeated_either():
    text = one_tool("arguments: {properties: {a: {}}, additionalProperties: {type: integer}}")
    refusal = judge(text, "t", {"hunter2": "x"}).refusal
    assert refusal is not None
    assert refusal.detail == "* must be of type integer."


@pytest.mark.parametrize("name", ["Limit", "LIMIT", "lim\u0131t", "\uff4cimit", "ID\u017f", "FILTER"])
def test_names_in_disguise_are_refused(name):
    expected = None if name == "lim\u0131t" else ErrorCode.ARGUMENTS_REFUSED  # a dotless i is another letter
    assert refused(TOOL, {"limit": 1, name: 1000}) is expected


@pytest.mark.parametrize(
    "arguments",
    [{"filter": {"Country": "x"}}, {"__proto__": {}}, {"filter": {"constructor": 1}}, {"other": [{"__proto__": 1}]}],
)
def test_disguises_below_the_top_and_poisoned_names(arguments):
    assert refused(TOOL, arguments) is ErrorCode.ARGUMENTS_REFUSED


def test_a_poisoned_name_that_is_declared_is_an_ordinary_one():
    assert refused(one_tool("arguments: {properties: {constructor: {type: string}}}"), {"constructor": "Bosch"}) is None


def test_names_that_only_an_expression_reads_must_not_be_confusable():
    text = one_tool("arguments: {properties: {page: {}}}\nuses: {rows: arguments.page.size}")
    assert judge(text, "t", {"page": {"size": 3}}).demands[0].reserve == 3
    assert refused(text, {"page": {"size": 3, "Size": 300}}) is ErrorCode.ARGUMENTS_REFUSED
    items = one_tool("arguments: {properties: {items: {}}}\nspends: {credit: {items: 'arguments.items[].id'}}")
    assert judge(items, "t", {"items": [{"id": "a"}]}).demands[0].reserve == 1
    assert refused(items, {"items": [{"id": "a", "ID": "b"}]}) is ErrorCode.ARGUMENTS_REFUSED


OPTS = "properties: {opts: {$ref: '#/$defs/o'}}"
MAX = "properties: {max: {type: integer, maximum: 10}}"
TREE = "properties: {max: {maximum: 10}, below: {type: array, items: {$ref: '#/$defs/o'}}}"
READ = [
    (f"{OPTS}, $defs: {{o: {{{MAX}}}}}", {"opts": {"MAX": 99}}),
    (f"$ref: '#/$defs/o', $defs: {{o: {{{MAX}}}}}", {"MAX": 99}),
    (f"$ref: '#o', $defs: {{p: {{$anchor: o, {MAX}}}}}", {"MAX": 99}),
    (f"{OPTS}, $defs: {{o: {{$ref: '#/$defs/a~1b%20c'}}, a/b c: {{{MAX}}}}}", {"opts": {"MAX": 99}}),
    (f"{OPTS}, $defs: {{o: {{{TREE}}}}}", {"opts": {"below": [{"below": [{"below": [{"MAX": 99}]}]}]}}),
    ("properties: {max: {}, sub: {$ref: '#'}}", {"sub": {"sub": {"sub": {"MAX": 99}}}}),
    ("not: {required: [force]}", {"Force": True}),
    ("not: {properties: {force: {const: true}}, required: [force]}", {"Force": True}),
    ("allOf: [{anyOf: [{oneOf: [{properties: {max: {}}}]}]}]", {"MAX": 99}),
    ("if: {required: [a]}, then: {properties: {max: {}}}", {"MAX": 99}),
    ("if: {required: [max]}, else: {}", {"MAX": 99}),
    ("else: {properties: {max: {}}}", {"MAX": 99}),
    ("patternProperties: {^force$: false}", {"Force": True}),
    ("patternProperties: {^m$: {properties: {max: {}}}}", {"m": {"MAX": 99}}),
    ("properties: {l: {prefixItems: [{properties: {max: {}}}]}}", {"l": [{"MAX": 99}]}),
    ("properties: {l: {items: {properties: {max: {}}}}}", {"l": [{"MAX": 99}]}),
    ("properties: {l: {contains: {properties: {max: {}}}}}", {"l": [{"MAX": 99}]}),
    ("properties: {l: {unevaluatedItems: {properties: {max: {}}}}}", {"l": [{"MAX": 99}]}),
    ("properties: {m: {additionalProperties: {properties: {max: {}}}}}", {"m": {"x": {"MAX": 99}}}),
    ("properties: {m: {unevaluatedProperties: {properties: {max: {}}}}}", {"m": {"x": {"MAX": 99}}}),
    ("required: [m], additionalProperties: {properties: {max: {}}}", {"m": {"MAX": 99}}),
    ("dependentRequired: {a: [proof]}", {"A": 1}),
    ("not: {dependentRequired: {a: [proof]}}", {"PROOF": 1}),
    ("dependentSchemas: {a: {properties: {max: {}}}}", {"A": 1}),
    ("dependentSchemas: {a: {properties: {max: {}}}}", {"MAX": 1}),
    ("propertyNames: {not: {enum: [force]}}", {"Force": True}),
    ("properties: {o: {not: {enum: [{force: {now: true}}]}}}", {"o": {"force": {"Now": True}}}),
]


@pytest.mark.parametrize(("schema", "arguments"), READ)
def test_a_name_that_any_keyword_reads_must_not_be_confusable(schema, arguments):
    assert refused(one_tool(f"arguments: {{{schema}}}"), arguments) is ErrorCode.ARGUMENTS_REFUSED


@pytest.mark.parametrize(
    ("schema", "arguments"),
    [
        (f"{OPTS}, $defs: {{o: {{{TREE}}}}}", {"MAX": 1, "opts": {"max": 1, "below": [{"max": 1, "x": {"MAX": 1}}]}}),
        ("properties: {a: {}}, additionalProperties: {properties: {max: {}}}", {"a": {"MAX": 1}, "b": {"max": 1}}),
        ("$defs: {unused: {properties: {max: {}}}}", {"MAX": 1}),
    ],
)
def test_a_name_is_read_at_its_own_levels_only(schema, arguments):
    assert refused(one_tool(f"arguments: {{{schema}}}"), arguments) is None


def test_a_name_that_an_expression_reads_is_read_at_its_own_level_of_a_schema_that_refers_to_itself():
    text = one_tool("arguments: {properties: {Max: {}, sub: {$ref: '#'}}}\nuses: {rows: 'arguments.sub.max || `1`'}")
    assert judge(text, "t", {"Max": 1, "sub": {"max": 2, "Max": 3}}).demands[0].reserve == 2
    assert refused(text, {"max": 1}) is ErrorCode.ARGUMENTS_REFUSED
    assert refused(text, {"sub": {"sub": {"max": 1}}}) is ErrorCode.ARGUMENTS_REFUSED


def test_a_name_that_an_expression_reads_keeps_what_the_schema_reads_below_it():
    text = one_tool(
        "arguments: {properties: {m: {additionalProperties: {properties: {max: {}}}}}}\nuses: {rows: arguments.m.x.n}"
    )
    assert refused(text, {"m": {"x": {"n": 1, "max": 2}}}) is None
    assert refused(text, {"m": {"x": {"n": 1, "MAX": 2}}}) is ErrorCode.ARGUMENTS_REFUSED


def test_messages_name_what_is_declared_behind_other_names():
    text = one_tool("arguments: {additionalProperties: {properties: {max: {maximum: 10}}}}")
    refusal = judge(text, "t", {"hunter2": {"max": 11}}).refusal
    assert refusal is not None
    assert refusal.detail == "*.max must be at most 10."


METERED = one_tool("uses: {rows: {reserve: 'meta.units || `1`', settle: 'meta.list[].size | length(@)'}}")


@pytest.mark.parametrize(
    "meta", [{"Units": 500}, {"units": 1, "UNIT\u017f": 500}, {"LIST": []}, {"list": [{"Size": 1}]}, {"__proto__": 1}]
)
def test_names_that_an_expression_reads_in_meta_must_not_be_confusable(meta):
    decision = judge(METERED, "t", {}, _meta=meta)
    assert decision.refusal is not None
    assert decision.refusal.code is ErrorCode.ARGUMENTS_REFUSED
    assert decision.refusal.detail is not None
    assert "_meta" in decision.refusal.detail
    assert decision.demands == ()


@pytest.mark.parametrize("meta", [{"units": 2, "progressToken": 2**60, "list": [{"size": 1}]}, {"a": {"Units": 1}}])
def test_meta_is_otherwise_free(meta):
    assert judge(METERED, "t", {}, _meta=meta).refusal is None
    assert judge(one_tool(""), "t", {}, _meta={"Units": 1, "__proto__": 1}).refusal is None


@pytest.mark.parametrize("arguments", [{"limit": 2**53}, {"ids": [-(2**53)]}, {"filter": {"x": 1, "country": 2**60}}])
def test_integers_on_which_parsers_disagree_are_malformed_where_the_policy_reads_them(arguments):
    assert refused(TOOL, arguments) is ErrorCode.PARAMS_MALFORMED


@pytest.mark.parametrize("arguments", [[], "x", 3, True, None])
def test_arguments_are_an_object(arguments):
    decision = decide(policy(TOOL), request("tools/call", {"name": "t", "arguments": arguments}), caller("s"))
    assert decision.refusal is not None
    assert decision.refusal.code is ErrorCode.PARAMS_MALFORMED
    assert decision.demands == ()


def test_patterns_run_in_linear_time():
    text = one_tool("arguments: {properties: {a: {type: string, pattern: '^(a+)+$'}}}")
    assert refused(text, {"a": "a" * 50_000 + "!"}) is ErrorCode.ARGUMENTS_REFUSED


def test_formats_are_enforced():
    text = one_tool("arguments: {properties: {mail: {type: string, format: email}}}")
    assert refused(text, {"mail": "hunter2"}) is ErrorCode.ARGUMENTS_REFUSED
    assert refused(text, {"mail": "a@example.com"}) is None


NAMES = st.sampled_from(["limit", "LIMIT", "ids", "filter", "country", "Country", "kind", "__proto__", "x"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(NAMES, VALUES))
def test_whatever_is_sent_is_judged_and_never_changed(arguments):
    before = json.dumps(arguments)
    decision = decide(COMPILED, call("t", arguments), caller("s"))
    assert json.dumps(arguments) == before
    if decision.refusal is None:
        assert decision.document is not None
        forwarded = decision.document["params"]["arguments"]
        assert forwarded == {"limit": 25, **arguments}
        assert 1 <= forwarded["limit"] <= 100
        assert decision.demands[0].reserve == forwarded["limit"]
        assert not {"LIMIT", "__proto__"} & forwarded.keys()
