import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import ErrorCode
from sidecar.model import MAX_AMOUNT, AmountKind, Demand
from sidecar.outcome import CHARGE_RESERVE, CHARGE_UNMARKED, Charge
from sidecar.policy import pricing
from sidecar.policy.decide import decide
from tests.policy.support import call, caller, judge, one_tool, policy

ROWS = one_tool(
    """
    arguments: {properties: {limit: {default: 25}}}
    uses: {requests: 1, rows: {reserve: arguments.limit, settle: length(data.rows)}}
    rows: length(data.rows)
    """
)
ONCE = one_tool(
    """
    arguments: {properties: {ids: {}}}
    spends: {credit: {items: arguments.ids, each: 2, settle: "data.found[].id", once: true}}
    """
)
EACH = ONCE.replace(", once: true", "")


def settle(text, arguments, result, **params):
    """Decide a call and settle it from a result."""
    compiled, message = policy(text), call("t", arguments, **params)
    decision = decide(compiled, message, caller("s"))
    assert decision.refusal is None
    tool = compiled.tools["t"]
    meta = message.params.get("_meta")
    return pricing.charges(tool.prices, decision.demands, decision.arguments, meta, result)


# --- before the call ---------------------------------------------------------------------------


def test_amounts_come_in_the_order_of_the_policy_uses_first():
    text = one_tool("arguments: {properties: {n: {}}}\nspends: {credit: arguments.n}\nuses: {rows: 3, requests: 1}")
    assert judge(text, "t", {"n": 4}).demands == (
        Demand(AmountKind.QUOTA, "rows", 3, fixed=True),
        Demand(AmountKind.QUOTA, "requests", 1, fixed=True),
        Demand(AmountKind.CREDIT, "credit", 4),
    )


def test_only_a_plain_number_of_quota_units_is_fixed():
    bodies = {
        "uses: {rows: 3}": True,
        "uses: {rows: {reserve: 3}}": True,
        "uses: {rows: {reserve: 3, settle: length(data.rows)}}": False,
        "uses: {rows: '`3`'}": False,
        "spends: {credit: 3}": False,
    }
    assert {body: judge(one_tool(body), "t").demands[0].fixed for body in bodies} == bodies


def test_a_tools_own_uses_replaces_the_defaults():
    defaults = "defaults: {uses: {requests: 1}}\n"
    assert [d.name for d in judge(defaults + one_tool("rows: length(data.x)"), "t").demands] == ["requests"]
    assert [d.name for d in judge(defaults + one_tool("uses: {rows: 1}"), "t").demands] == ["rows"]
    assert judge(defaults + one_tool("uses: {}"), "t").demands == ()


@pytest.mark.parametrize(
    ("ids", "items", "reserve"),
    [(["a", "b"], ("a", "b"), 4), (["a", "a", "b", "a"], ("a", "b"), 4), ([7, "7"], ("7",), 2), ([], (), 0)],
)
def test_items_paid_once_are_distinct_texts(ids, items, reserve):
    assert judge(ONCE, "t", {"ids": ids}).demands == (Demand(AmountKind.CREDIT, "credit", reserve, items, 2),)


def test_quotas_can_count_items_once_too():
    text = one_tool("arguments: {properties: {ids: {}}}\nuses: {rows: {items: arguments.ids, once: true}}")
    assert judge(text, "t", {"ids": ["a", "a"]}).demands == (Demand(AmountKind.QUOTA, "rows", 1, ("a",)),)


def test_without_once_each_occurrence_counts():
    assert judge(EACH, "t", {"ids": ["a", "a", "b"]}).demands == (Demand(AmountKind.CREDIT, "credit", 6),)


def test_meta_can_be_read():
    text = one_tool('uses: {rows: meta."example.com/rows"}')
    assert judge(text, "t", {}, _meta={"example.com/rows": 9}).demands[0].reserve == 9


@pytest.mark.parametrize("limit", [True, False, 2.0, 1.5, "3", None, -1, [], {}])
def test_a_price_is_a_whole_number(limit):
    refusal = judge(ROWS, "t", {"limit": limit}).refusal
    assert refusal is not None
    assert refusal.code is ErrorCode.ARGUMENTS_REFUSED
    assert refusal.detail == (
        "This call cannot be priced: `arguments.limit` must give an integer from 0 to 9007199254740991."
    )


@pytest.mark.parametrize("ids", [None, "abc", 3, {"a": 1}, [True], [1.0], [None], [["a"]], [{"id": "a"}], ["a"] * 6])
@pytest.mark.parametrize("text", [ONCE, EACH])
def test_items_are_a_short_list_of_strings_or_integers(text, ids):
    compiled = policy(text, items=5)
    decision = decide(compiled, call("t", {"ids": ids}), caller("s"))
    assert decision.refusal is not None
    assert decision.refusal.code is ErrorCode.ARGUMENTS_REFUSED
    assert decide(compiled, call("t", {"ids": ["a"] * 5}), caller("s")).refusal is None


def test_a_price_beyond_the_largest_amount_is_refused():
    text = EACH.replace("each: 2", f"each: {MAX_AMOUNT}")
    assert judge(text, "t", {"ids": ["a"]}).demands[0].reserve == MAX_AMOUNT
    assert judge(text, "t", {"ids": ["a", "b"]}).refusal is not None


# --- when settling -----------------------------------------------------------------------------


def test_rows_returned_are_charged_even_beyond_the_reserve():
    settled = settle(ROWS, {"limit": 2}, {"structuredContent": {"rows": [1, 2, 3]}})
    assert settled == pricing.SettledPrice((CHARGE_RESERVE, Charge(3)), rows=3)


def test_credits_never_cost_more_than_was_reserved():
    text = one_tool("spends: {credit: {reserve: 5, settle: data.cost}}")
    assert settle(text, {}, {"structuredContent": {"cost": 3}}).charges == (Charge(3),)
    assert settle(text, {}, {"structuredContent": {"cost": 9}}).charges == (Charge(5),)
    assert settle(one_tool("spends: {credit: {reserve: 5, settle: 2}}"), {}, {}).charges == (Charge(2),)


def test_delivered_items_are_charged():
    found = {"structuredContent": {"found": [{"id": "b"}, {"id": 7}, {"id": "b"}]}}
    assert settle(ONCE, {"ids": ["a", "b", "7"]}, found).charges == (Charge(items=("b", "7")),)
    assert settle(EACH, {"ids": ["a", "b", "7", "b"]}, found).charges == (Charge(6),)
    assert settle(EACH, {"ids": ["b", "7"]}, found).charges == (Charge(4),)  # three of the two that were asked for
    assert settle(ONCE, {"ids": ["a"]}, {"structuredContent": {"found": []}}).charges == (Charge(items=()),)


def test_without_settle_the_reserve_is_charged():
    text = one_tool("arguments: {properties: {ids: {}}}\nspends: {credit: {items: arguments.ids, once: true}}")
    assert settle(text, {"ids": ["a"]}, {}).charges == (CHARGE_RESERVE,)


@pytest.mark.parametrize(
    ("text", "arguments", "data", "failure"),
    [
        (ROWS, {}, {"rows": 3}, "p1.yaml:8: `length(data.rows)` cannot be computed: the reserved rows were charged"),
        (ROWS, {}, {"rwos": []}, "p1.yaml:8: `length(data.rows)` cannot be computed: the reserved rows were charged"),
        (ONCE, {"ids": ["a"]}, {"found": [{"id": "z9"}]}, "names items that were not requested"),
        (EACH, {"ids": ["a"]}, {"found": [{"id": "z9"}]}, "names items that were not requested"),
        (ONCE, {"ids": ["a"]}, {"found": [{"id": 1.5}]}, "must give a list of strings or integers"),
        (ONCE, {"ids": ["a"]}, {"found": [{"id": 10**30}]}, "beyond 2^53"),
        (ONCE, {"ids": ["a"]}, {"found": [{"id": "a"}] * 501}, "at most 500 items"),
        (ONCE, {"ids": ["a"]}, {}, "must give a list of strings or integers"),
    ],
)
def test_a_result_that_cannot_be_read_charges_the_reserve_and_says_so(text, arguments, data, failure):
    settled = settle(text, arguments, {"structuredContent": data})
    assert settled.charges[-1] == (CHARGE_UNMARKED if text is ONCE else CHARGE_RESERVE)
    assert len(settled.failures) == 1
    assert failure in settled.failures[0]
    assert "z9" not in settled.failures[0]
    assert settled.rows is None


TEXT = {"type": "text", "text": '{"rows": [1]}'}


@pytest.mark.parametrize(
    ("result", "rows"),
    [
        ({"structuredContent": {"rows": [1, 2]}, "content": [TEXT]}, 2),
        ({"content": [TEXT]}, 1),
        ({"content": [TEXT, TEXT]}, None),
        ({"content": [{**TEXT, "type": "image"}]}, None),
        ({"content": [{"type": "text", "text": "no JSON"}]}, None),
        ({"content": [{"type": "text", "text": None}]}, None),
        ({"content": ["x"]}, None),
        ({"content": {}}, None),
        ({}, None),
        ({"contents": [{"uri": "docs://a", "text": '{"rows": [1, 2, 3]}'}]}, 3),
        ({"contents": [{"text": '{"rows": [1]}'}]}, None),
        ({"contents": [{"uri": "docs://a", "blob": "e30="}]}, None),
        ({"content": [], "contents": [{"uri": "docs://a", "text": '{"rows": [1]}'}]}, None),
        ({"content": [{"type": "image", "uri": "docs://a", "text": '{"rows": [1]}'}]}, None),
    ],
)
def test_data_is_structured_or_the_json_of_a_single_text(result, rows):
    assert settle(ROWS, {}, result).rows == rows


def test_the_arguments_read_when_settling_are_those_that_were_judged():
    text = ROWS.replace("length(data.rows)}}", "arguments.limit}}")
    assert settle(text, None, {}).charges[1] == Charge(25)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["found", "rows", "id", "structuredContent", "content", "type", "text"]), inner
        )
    ),
    max_leaves=12,
)


@pytest.mark.parametrize("text", [ROWS, ONCE, EACH])
def test_no_answer_of_a_backend_makes_settling_fail(text):
    compiled = policy(text)
    message = call("t", {"ids": ["a", "b"], "limit": 5})
    decision = decide(compiled, message, caller("s"))
    reserved = decision.demands
    tool = compiled.tools["t"]

    @given(st.dictionaries(st.sampled_from(["structuredContent", "content"]), json_values))
    def settles(result):
        settled = pricing.charges(tool.prices, reserved, decision.arguments, None, result)
        assert len(settled.charges) == len(reserved)
        for charge, demand in zip(settled.charges, reserved, strict=True):
            assert charge.items is None or set(charge.items) <= set(demand.items or ())
            if charge.amount is not None:
                assert 0 <= charge.amount <= MAX_AMOUNT
                assert demand.kind is AmountKind.QUOTA or charge.amount <= demand.reserve
        json.dumps(settled.failures)

    settles()


@pytest.mark.parametrize("kind", ["uses: {rows: {reserve: 3", "spends: {credit: {reserve: 3"])
def test_rows_are_the_same_with_and_without_a_price_of_their_expression(kind):
    """A quota that is settled by the expression of the rows gives their number."""
    bodies = (f"{kind}, settle: data.n}}}}\nrows: '{rows}'" for rows in ("data.n", " data.n "))
    shared, apart = (policy(one_tool(body)).tools["t"].prices for body in bodies)
    demands = pricing.demands(shared, {}, None)
    assert demands == pricing.demands(apart, {}, None)

    @given(st.sampled_from([0, 2, 3, 4, MAX_AMOUNT, MAX_AMOUNT + 1, -1, 1.0, True, None, "3", [1]]))
    def settles(rows):
        result = {"structuredContent": {"n": rows}}
        found = [pricing.charges(prices, demands, {}, None, result) for prices in (shared, apart)]
        assert found[0] == found[1]

    settles()


def test_amounts_without_a_settlement_are_settled_once_for_all_results():
    prices = policy(one_tool("uses: {requests: 1, rows: 2}\nspends: {credit: 3}")).tools["t"].prices
    demands = pricing.demands(prices, {}, None)
    settled = pricing.charges(prices, demands, {}, None, {"structuredContent": {}})
    assert settled == pricing.SettledPrice((CHARGE_RESERVE,) * 3)
    assert settled is pricing.charges(prices, demands, {}, None, {})
