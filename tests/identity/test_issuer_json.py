"""JSON that issuers write, read by one reader; tests/vectors has a suite of documents."""

from __future__ import annotations

import contextlib
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.identity.issuer_json import IssuerJsonError, parse, parse_object

texts = st.text(st.characters(codec=None))
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**19), 10**19)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=10,
)


@given(values, st.booleans())
def test_every_json_value_is_read_as_it_is(value: Any, ascii_only: bool):
    with contextlib.suppress(UnicodeEncodeError):  # half a surrogate pair is written escaped only
        assert parse(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@given(st.dictionaries(texts, values))
def test_an_object_without_blanks_is_read_as_one_with_blanks(value: dict[str, Any]):
    spaced = json.dumps(value).encode()
    with contextlib.suppress(UnicodeEncodeError):
        compact = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
        assert repr(parse_object(compact)) == repr(parse_object(spaced))


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused(data: bytes):
    with contextlib.suppress(IssuerJsonError):
        parse(data)


@pytest.mark.parametrize(("digits", "exact"), [(19, True), (20, True), (21, False), (5000, False)])
def test_long_integers_are_floats(digits: int, exact: bool):
    value = parse(b"9" * digits)
    assert (value == 10**digits - 1 if digits < 400 else math.isinf(value)) or not exact
    assert isinstance(value, int if exact else float)
    assert parse_object(b'{"a":%b}' % (b"9" * digits)) == {"a": value}


def test_names_that_differ_in_any_way_are_different_members():
    found = parse_object(b'{"a":1,"A":2,"\\u00e4":3,"a\\u0308":4,"a\\u0000":5,"__proto__":6}')
    assert len(found) == 6


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"a":{"b":1,"b":1}}', "repeats a member name: b"),
        (b'{"x\\n":1,"x\\u000a":1}', r"repeats a member name: x\x0a"),
        (b"[]", "is not a JSON object"),
        (b"NaN", "is not JSON"),
        (b'{"a":-Infinity}', "is not JSON"),
        (b"\xef\xbb\xbf{}", "is not JSON"),
        (b"\xff", "is not UTF-8"),
        (b"[" * 65 + b"]" * 65, "is nested more than 64 levels deep"),
        (b"[" * 200_000, "is nested more than 64 levels deep"),
    ],
)
def test_an_unreadable_document_has_a_reason(data: bytes, reason: str):
    with pytest.raises(IssuerJsonError) as info:
        parse_object(data)
    assert str(info.value) == reason


def test_sixty_four_levels_are_read():
    assert parse(b"[" * 64 + b"]" * 64)
