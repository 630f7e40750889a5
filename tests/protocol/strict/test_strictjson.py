"""Documents that two parsers read differently are refused; all others survive the round trip."""

from __future__ import annotations

import json
import math
from time import thread_time
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.protocol.strict import strictjson

REFUSED = {
    "duplicate key": b'{"a":1,"a":2}',
    "duplicate key after unescaping": b'{"name":1,"n\\u0061me":2}',
    "duplicate key deep down": b'{"a":[{"b":{"c":1,"c":1}}]}',
    "two params that some parsers merge": b'{"params":{"name":"reveal"},"params":{"arguments":{}}}',
    "keys differing in case": b'{"name":1,"Name":2}',
    "long s": '{"params":1,"param\u017f":2}'.encode(),
    "kelvin sign": '{"k":1,"\u212a":2}'.encode(),
    "full width": '{"id":1,"\uff49\uff44":2}'.encode(),
    "NUL in a key": b'{"name\\u0000":1}',
    "invalid UTF-8": b'{"a":"\xff"}',
    "overlong UTF-8": b'{"\xc1\xaeame":1}',
    "surrogate in UTF-8": b'{"a":"\xed\xa0\x80"}',
    "UTF-16": '{"a":1}'.encode("utf-16"),
    "UTF-32 without a mark": '{"a":1}'.encode("utf-32-le"),
    "byte order mark": b'\xef\xbb\xbf{"a":1}',
    "trailing text": b'{"a":1} x',
    "second document": b'{"a":1}{"b":2}',
    "NaN": b'{"a":NaN}',
    "Infinity": b'{"a":-Infinity}',
    "real beyond a double": b'{"a":1e400}',
    "integer beyond a double": b'{"a":' + b"9" * 400 + b"}",
    "integer beyond Python's own limit": b'{"a":' + b"9" * 5000 + b"}",
    "lone high surrogate": b'{"a":"\\ud800"}',
    "lone low surrogate": b'{"a":"x\\uDC00y"}',
    "surrogates in the wrong order": b'{"a":"\\udc00\\ud800"}',
    "lone surrogate in a key": b'{"\\ud800":1}',
    "comment": b'{"a":1/**/}',
    "single quotes": b"{'a':1}",
    "bare key": b"{a:1}",
    "leading zero": b'{"a":01}',
    "plus sign": b'{"a":+1}',
    "bare point": b'{"a":1.}',
    "raw control character": b'{"a":"x\ny"}',
    "trailing comma": b'{"a":1,}',
    "form feed as space": b'\x0c{"a":1}',
    "other digits": '{"a":\u0661}'.encode(),
    "unterminated": b'{"a":"b',
    "empty": b"",
    "key of more than 1 KiB": b'{"' + b"k" * 1025 + b'":1}',
    "key of more than 1 KiB in UTF-8": b'{"%s":1}'.replace(b"%s", "é".encode() * 513),
    "key of more than 1 KiB among others": b'{"a":{"b":0,"' + b"k" * 1025 + b'":1}}',
    "key of more than 30 marks in a row": ('{"a' + "\u0301\u0323" * 16 + '":1}').encode(),
    "key of more than 30 escaped marks": b'{"a":0,"b' + b"\\u0301" * 31 + b'":1}',
}


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED)
def test_documents_that_parsers_read_differently_are_refused(body: bytes):
    with pytest.raises(strictjson.NotStrict):
        strictjson.parse(body)


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED)
def test_no_refusal_holds_the_body(body: bytes):
    secret = b'["s3cret",' + body + b"]"
    with pytest.raises(strictjson.NotStrict) as caught:
        strictjson.parse(secret)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    "literal",
    [
        "-0",
        "1.0",
        "1e5",
        "1E5",
        "1.50",
        "0.1e1",
        "1e-400",
        "-0.0",
        "1e+16",
        "9007199254740993",
        "18446744073709551616",
        "-9223372036854775809",
        "123456789012345678901234567890",
        "0.30000000000000000001",
        "9" * 300,
    ],
)
def test_number_literals_are_forwarded_as_sent(literal: str):
    body = f'{{"a":[{literal},{{"b":{literal}}}]}}'.encode()
    parsed = strictjson.parse(body)
    assert strictjson.dumps(parsed.exact) == body
    assert parsed.plain == json.loads(body)


def test_ordinary_documents_are_read_once():
    parsed = strictjson.parse(b'{"a":[1,-2,0.5,true,null,"x"],"b":{}}')
    assert parsed.exact is parsed.plain


def test_a_surrogate_pair_and_an_escaped_backslash_are_no_lone_surrogates():
    assert strictjson.parse(b'["\\ud83d\\ude00","\\\\ud800"]').plain == ["\U0001f600", "\\ud800"]


def test_long_or_decomposed_keys_are_accepted():
    keys = ["k" * 1024, "é" * 512, "e\u0301" * 300, "a" + "\u0301\u0323" * 15]
    body = json.dumps(dict.fromkeys(keys, 0), ensure_ascii=False).encode()
    assert list(strictjson.parse(body).plain) == keys


@pytest.mark.parametrize("size", [0, 100_000])
@pytest.mark.parametrize("literal", ["1.0", "-0", "1e2", "12345678901234567890123"])
def test_small_and_large_documents_keep_their_odd_numbers(literal: str, size: int):
    body = f'{{"a":[{"1," * size}2],"b":{{"c":{literal}}}}}'.encode()
    parsed = strictjson.parse(body)
    assert strictjson.dumps(parsed.exact) == body
    assert parsed.plain == json.loads(body)
    assert "Fragment" not in repr(parsed.plain)


def test_keys_that_only_look_alike_to_people_may_stand_side_by_side():
    assert strictjson.parse(b'{"fooBar":1,"foo_bar":2,"Other":3}').plain == {"fooBar": 1, "foo_bar": 2, "Other": 3}


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_depth_is_limited_exactly(opening: bytes, closing: bytes):
    def nested(depth: int) -> bytes:
        return opening * depth + b"1" + closing * depth

    assert strictjson.parse(nested(64)).plain
    with pytest.raises(strictjson.NotStrict):
        strictjson.parse(nested(65))
    assert strictjson.parse(nested(3), max_depth=3).plain
    with pytest.raises(strictjson.NotStrict):
        strictjson.parse(nested(4), max_depth=3)


def test_brackets_in_strings_and_wide_documents_are_not_deep():
    value = {"text": '[{"\\' * 200, "wide": [[] for _ in range(500)]}
    assert strictjson.parse(json.dumps(value).encode()).plain == value


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 500_000,
        b'"' + b'\\"' * 250_000 + b"[" * 100,
        b'"' * 500_000 + b"[" * 100,
        b'["' + b"\\" * 499_999 + b"[" * 100,
        b'[" ' * 160_000,
        b"[]" * 250_000,
        b"[" + b"9" * 500_000 + b"]",
    ],
    ids=["depth bomb", "escaped quotes", "quotes", "backslashes", "open strings", "brackets", "digits"],
)
def test_hostile_documents_are_refused_quickly(body: bytes):
    start = thread_time()
    with pytest.raises(strictjson.NotStrict):
        strictjson.parse(body)
    assert thread_time() - start < 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=20,
)


def _collides(value: Any) -> bool:
    if isinstance(value, list):
        return any(map(_collides, value))
    if not isinstance(value, dict):
        return False
    keys = {strictjson.fold(key) for key in value}
    return len(keys) < len(value) or "\0" in "".join(value) or any(map(_collides, value.values()))


@given(JSON, st.booleans())
def test_every_accepted_document_survives(value: Any, escaped: bool):
    body = json.dumps(value, ensure_ascii=escaped).encode()
    if _collides(value):
        with pytest.raises(strictjson.NotStrict):
            strictjson.parse(body)
        return
    parsed = strictjson.parse(body)
    assert parsed.plain == value
    assert json.loads(strictjson.dumps(parsed.exact)) == value


@given(st.binary(max_size=60) | st.text('[]{}",:\\u0d8e1-. tn\x00', max_size=40).map(str.encode))
def test_arbitrary_bytes_are_refused_or_read_as_other_parsers_do(body: bytes):
    try:
        parsed = strictjson.parse(body)
    except strictjson.NotStrict:
        return
    assert json.loads(body) == parsed.plain
    if not (isinstance(parsed.plain, float) and math.isinf(parsed.plain)):
        assert orjson.loads(body) == orjson.loads(strictjson.dumps(parsed.exact))
