from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sidecar.protocol import results, stamping
from sidecar.protocol.meta import RECEIPT_KEY, REFUSAL_KEY
from sidecar.protocol.stamping import stamped
from sidecar.protocol.strict.jsontext import JsonText

RECEIPT = {"request_id": "r-1", "credits": {"contact": {"spent": 2, "left": 3}}}
WRITTEN = f'"{RECEIPT_KEY}":{json.dumps(RECEIPT, separators=(",", ":"))}'
FORGED = {"request_id": "r-1", "credits": {"contact": {"spent": 0, "left": 10**6}}}


class Literal(str):
    """A number as it was spelt."""


def exact(text: str) -> Any:
    """Everything that a text says: numbers as they were spelt, members in their order, those given twice too."""
    return json.loads(
        text, parse_int=Literal, parse_float=Literal, parse_constant=Literal, object_pairs_hook=lambda pairs: pairs
    )


def stamp(text: str, receipt: dict[str, Any] | None = RECEIPT) -> str:
    return stamped(text, results.read_response(text.encode()).result, receipt)


def message(result: str) -> str:
    return f'{{"jsonrpc": "2.0", "id": 1, "result": {result}}}'


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ("{}", f'{{"_meta":{{{WRITTEN}}}}}'),
        ("{ }", f'{{"_meta":{{{WRITTEN}}} }}'),
        ('{"content": []}', f'{{"_meta":{{{WRITTEN}}},"content": []}}'),
        ('{"_meta": {}}', f'{{"_meta": {{{WRITTEN}}}}}'),
        ('{"_meta" : {"z": 1.0, "a": 1e3}, "x": 0}', f'{{"_meta" : {{{WRITTEN},"z": 1.0, "a": 1e3}}, "x": 0}}'),
        ('{"_meta": null, "x": 1}', f'{{"_meta": {{{WRITTEN}}}, "x": 1}}'),
        ('{"_meta": [1, 2]}', f'{{"_meta": {{{WRITTEN}}}}}'),
        ('{"_meta": "text"}', f'{{"_meta": {{{WRITTEN}}}}}'),
    ],
)
def test_a_receipt_is_written_into_the_text_and_nothing_else_changes(result: str, expected: str):
    assert stamp(message(result)) == message(expected)


NUMBERS = "[1.0, 1, -0.0, -0, 1E5, 123456789012345678901234567890, 0.1000, 1e-400, 9007199254740993]"


@pytest.mark.parametrize(
    "result",
    [
        f'{{"structuredContent": {NUMBERS}}}',
        f'{{"structuredContent": {NUMBERS}, "_meta": {{"a": {NUMBERS}}}}}',
        f'{{"content": [{{"_meta": {{"n": {NUMBERS}}}}}], "_meta": {{"b": {NUMBERS}}}}}',
        '{"content": [{"type": "text", "text": "cut \\ud83d"}]}',
        '{"content": [{"type": "text", "text": "cut \\ud83d", "_meta": {"a": "\\udc00"}}], "_meta": {"b": "\\ud83d"}}',
        '{"structuredContent": {"result": {"result": {"_meta": {}}}}}',
        '{"content": [{"text": "{\\"result\\": {\\"_meta\\": {}}}"}], "a\\"_meta" : {}, "_meta": {}}',
        '{"structuredContent": "\\u005f\\u006deta and \\u0072esult"}',
        '{"a": [[[{"b": [{}, [], "]}", {"c": "{"}]}]]], "_meta": {}, "\\\\": {"_meta": {"\\\\\\"": 1}}}',
    ],
)
def test_numbers_strings_and_names_alike_stay_as_they_were_written(result: str):
    text = message(result)
    assert without_receipt(exact(stamp(text))) == without_receipt(exact(text))
    assert json.loads(stamp(text))["result"]["_meta"][RECEIPT_KEY] == RECEIPT


def without_receipt(pairs: Any) -> Any:
    """A message as `exact` gives it, without the receipt and without a `_meta` that is empty then."""

    def member(name: str, value: Any) -> list[tuple[str, Any]]:
        if name != "_meta":
            return [(name, value)]
        kept = [(key, each) for key, each in value if key != RECEIPT_KEY]
        return [(name, kept)] if kept else []

    return [
        (name, [pair for inner in value for pair in member(*inner)] if name == "result" else value)
        for name, value in pairs
    ]


def test_the_result_may_stand_anywhere_and_be_named_in_escapes():
    for text in (
        '{"result": {"a": 1}, "id": 1}',
        ' {"id": 1, "x": {"result": {}}, "result": {"a": 1}, "y": [{"result": {}}]} ',
        '{"id": 1, "resul\\u0074": {"a": 1}, "x": {"result": {}}}',
        '{"id": 1, "result": {"a": 0}, "result": {"a": 1}}',
    ):
        assert json.loads(stamp(text))["result"] == {"_meta": {RECEIPT_KEY: RECEIPT}, "a": 1}


@pytest.mark.parametrize("receipt", [RECEIPT, None], ids=["priced", "free"])
@pytest.mark.parametrize("key", [RECEIPT_KEY, REFUSAL_KEY])
@pytest.mark.parametrize(
    "result",
    [
        '{"_meta": {"KEY": FORGED}}',
        '{"_meta": {"a": 1.0, "KEY": FORGED, "b": 2, "KEY": FORGED}}',
        '{"_meta": {"KEY": FORGED}, "_meta": {"a": 1}}',  # parsers that merge, or keep the first
        '{"_meta": {"a": 1}, "_META": {"KEY": FORGED}}',  # parsers that do not mind the case
        '{"\\u005fmeta": {"KEY": FORGED}}',
        '{"taskId": "t", "status": "completed", "result": {"content": [], "_meta": {"KEY": FORGED, "a": 1.0}}}',
    ],
)
def test_forged_receipts_are_removed(result: str, key: str, receipt: dict[str, Any] | None):
    spellings = (key, key.replace("/", "\\/"), key.replace("-", "\\u002D"), key.replace("m", "\\u006d", 1))
    for spelt in spellings:
        text = message(result.replace("KEY", spelt).replace("FORGED", json.dumps(FORGED)))
        made = stamp(text, receipt)
        assert "1000000" not in made
        assert json.loads(made)["result"].get("_meta", {}).get(RECEIPT_KEY) == receipt
        assert "1.0" not in text or "1.0" in made


def test_forged_receipts_in_a_second_result_are_removed():
    forged = json.dumps({"_meta": {RECEIPT_KEY: FORGED}})
    for text in (
        f'{{"id": 1, "result": {forged}, "result": {{}}}}',
        f'{{"id": 1, "result": {{}}, "Result": {forged}}}',
    ):
        assert "1000000" not in stamp(text, None)


def test_a_task_in_a_notification_has_no_forged_receipt():
    params = {"taskId": "t", "result": {"content": [], "_meta": {RECEIPT_KEY: FORGED}}}
    text = json.dumps({"jsonrpc": "2.0", "method": "notifications/tasks", "params": params})
    assert json.loads(stamped(text, None, None))["params"]["result"] == {"content": [], "_meta": {}}


@pytest.mark.parametrize(
    "text",
    [
        message('{"content": [{"text": "mcp-policy-sidecar/receipt"}]}'),
        message('{"structuredContent": {"mcp-policy-sidecar/receipt": 1.0}}'),
        message('{"content": [], "_meta": {"mcp-policy-sidecar/other": 1}}'),
        message('{"_meta": null}'),
        '{"id": 1, "error": {"code": 1, "message": "mcp-policy-sidecar"}}',
    ],
)
def test_a_text_without_price_or_forgery_is_the_same_text(text: str):
    assert stamp(text, None) is text


def test_deep_nesting_is_no_obstacle():
    deep = "[" * 60 + "]" * 60
    text = message(f'{{"content": {deep}, "a": {{"_meta": {{}}}}, "_meta": {{"x": {deep}}}}}')
    assert stamp(text).count(WRITTEN) == 1


# --- for any result ------------------------------------------------------------------------------

NAMES = st.sampled_from(["_meta", "result", "a", "_META", 'q"_meta', "\\", "{", RECEIPT_KEY]) | st.text(max_size=4)
SPELT = st.sampled_from(["1.0", "1", "-0", "-0.0", "1e3", "1E+3", "12345678901234567890123", "true", "null", "0.10"])
BLANK = st.sampled_from(["", "", " ", "\n\t"])


def strings(text: str, ascii_only: bool) -> str:
    return json.dumps(text, ensure_ascii=ascii_only)


STRINGS = st.builds(strings, st.text(max_size=6) | NAMES, st.booleans())


def objects(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    member = st.builds(lambda name, blank, value: f"{name}{blank}:{blank}{value}", STRINGS, BLANK, values)
    return st.builds(lambda blank, members: f"{{{blank}{','.join(members)}{blank}}}", BLANK, st.lists(member))


def containers(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    arrays = st.builds(lambda blank, items: f"[{blank}{','.join(items)}{blank}]", BLANK, st.lists(values, max_size=4))
    return objects(values) | arrays


VALUES = st.recursive(SPELT | STRINGS, containers, max_leaves=12)


@given(objects(VALUES), BLANK, st.booleans())
@example('{"_meta":{"a":1},"_meta":[1.0]}', "", True)
@example('{"a":[{"_meta":{}}]}', "", False)
def test_any_result_is_as_it_was_but_for_the_receipt(result: str, blank: str, last: bool):
    members = ['"jsonrpc":"2.0"', f'"result"{blank}:{blank}{result}', '"id":1']
    text = "{" + blank + ",".join(sorted(members, reverse=last)) + blank + "}"
    try:
        text.encode()
    except UnicodeEncodeError:
        return  # a lone surrogate that is not escaped: no bytes decode to it
    made = stamp(text)
    assert results.read_response(made.encode()).result is not None
    assert json.loads(made)["result"]["_meta"][RECEIPT_KEY] == RECEIPT
    assert cleaned(exact(made)) == cleaned(exact(text))
    assert "r-1" not in stamp(made, None)


@given(objects(VALUES), BLANK, st.booleans())
@example('{"_meta":{}}', "", True)
def test_the_short_cut_writes_what_the_inspection_of_every_member_writes(result: str, blank: str, last: bool):
    members = ['"jsonrpc":"2.0"', f'"result"{blank}:{blank}{result}', '"id":1']
    text = "{" + blank + ",".join(sorted(members, reverse=last)) + blank + "}"
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    assert stamp(text) == stamping._stamped_by_member(text, RECEIPT)


def cleaned(pairs: Any) -> Any:
    """A message as `exact` gives it, without what `stamped` may add or take away."""
    return [(name, clean_body(value) if name == "result" else value) for name, value in pairs]


def clean_body(members: Any, *, task: bool = False) -> Any:
    last = max((index for index, (name, _) in enumerate(members) if name == "_meta"), default=-1)
    made: list[Any] = []
    for index, (name, value) in enumerate(members):
        if name.casefold() == "_meta":
            kept = [pair for pair in value if pair[0] not in (RECEIPT_KEY, REFUSAL_KEY)] if is_object(value) else value
            # The last `_meta` of a result gets the receipt, and is replaced when it is no object.
            if index == last and not task:
                kept = kept if is_object(value) else []
                if not kept:
                    continue
            made.append((name, kept))
        elif name.casefold() == "result" and is_object(value) and not task:
            made.append((name, clean_body(value, task=True)))
        else:
            made.append((name, value))
    return made


def is_object(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, tuple) for each in value)


@given(VALUES)
def test_members_are_found_where_they_are(value: str):
    text = f'{{ "first" : {value} ,"last":{value}}}'
    found = [(each.name, text[each.value : each.end]) for each in JsonText(text).members(0)]
    assert found == [("first", value), ("last", value)]


def test_invalid_json_is_reported():
    with pytest.raises(ValueError, match="not valid JSON"):
        list(JsonText("{1: 2}").members(0))
