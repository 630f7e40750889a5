"""Documents that are read quickly: the complete rules accept each of them, and read the same."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sidecar.protocol.strict import strictjson
from sidecar.protocol.strict.folding import MAX_NAME
from sidecar.protocol.strict.usual import LONGEST, read_usual

# Contents of strings, as they are written.
USUAL_NAMES = ("", "a", "b", "name", "a b", "a,", "{", ": ", "/", "1e5", "k" * MAX_NAME, "_", "\x7f")
CAPITAL_NAMES = ("A", "Name", "ab", "B", "A b", "K" * MAX_NAME)
ODD_NAMES = (
    *("\u212a", "\uff41", "a\u0301", "é", "É", "k" * (MAX_NAME + 1)),
    *("\\u0061", "\\u0041", "\\u0000", "a\\n", '\\"', "\\\\", "\\ud800", "a\\/", "é" * 600, "\\\\\\u0062"),
)
TEXTS = (
    *(
        "",
        "a",
        '{\\"a\\":1,\\"a\\":2}',
        '\\": ',
        "a,",
        ",",
        ":",
        " : ",
        "\\\\",
        "\\n",
        "1E5",
        "1E+5",
        "E",
        "é",
        "\u4f60",
    ),
    *(
        "\\u00e9",
        "\\u001f",
        "\\u001F",
        "\\ud83d\\ude00",
        "\\ud800",
        "\\/",
        "k" * 2000,
        "\u2028",
        "\x7f",
        "\\b\\f\\r\\t",
    ),
)
NUMBERS = (
    *(
        "0",
        "-0",
        "7",
        "-12",
        "0.5",
        "-0.0",
        "0.0",
        "1.0",
        "1.50",
        "1e5",
        "1E5",
        "1e16",
        "1E16",
        "1e+16",
        "1E+16",
        "1e-7",
    ),
    *("1E-7", "1e-07", "1.5e+300", "1.5E+300", "1e400", "5e-324", "9007199254740993", "18446744073709551615"),
    *("18446744073709551616", "-9223372036854775808", "-9223372036854775809", "123456789012345680", "0.1e1", "01"),
    *(
        "0.30000000000000004",
        "100000000000000000000.0",
        "1e22",
        "1e23",
        "0.00001",
        "0.000001",
        "2.2250738585072011e-308",
    ),
)
BLANKS = st.sampled_from(("", "", "", " ", "\n", "\t", "\r\n  "))
DOUBLES = st.floats(allow_nan=False, allow_infinity=False)
DECIMALS = st.floats(-1e9, 1e9).map(lambda number: round(number, 3))  # libraries differ in exponents


def _strings(contents: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return contents.map('"{}"'.format)


@st.composite
def _containers(draw: st.DrawFn, names: st.SearchStrategy[str], inner: st.SearchStrategy[str]) -> str:
    def spaced(token: str) -> str:
        return draw(BLANKS) + token + draw(BLANKS)

    values = [spaced(each) for each in draw(st.lists(inner, max_size=4))]
    if draw(st.booleans()):
        return f"[{','.join(values)}]"
    return f"{{{','.join(spaced(draw(_strings(names))) + ':' + value for value in values)}}}"


def _documents(names: st.SearchStrategy[str], leaves: st.SearchStrategy[str]) -> st.SearchStrategy[bytes]:
    texts = st.recursive(leaves, lambda inner: _containers(names, inner), max_leaves=12)
    return st.tuples(BLANKS, texts, BLANKS).map("".join).map(lambda text: text.encode("utf-8", "surrogatepass"))


WORDS = st.sampled_from(("true", "false", "null", "{}", "[]", "NaN"))
ANY = _documents(
    st.sampled_from((*USUAL_NAMES, *CAPITAL_NAMES, *ODD_NAMES)),
    st.sampled_from(NUMBERS) | _strings(st.sampled_from(TEXTS)) | WORDS | DOUBLES.map(repr) | st.integers().map(str),
)


def check(body: bytes) -> bool:
    """Compare both readings; return whether the document is a usual one."""
    usual = read_usual(body)
    if usual is None:
        return False
    value, folded = usual
    complete = strictjson.parse_completely(body)
    assert repr(value) == repr(complete.plain)  # as equal as 1 and 1.0 are not, in the same order
    assert complete.exact is complete.plain
    assert all(name.lower().replace(" ", "").encode() in folded for name in _names(value))
    return True


def _names(value: Any) -> list[str]:
    if isinstance(value, list):
        return [name for each in value for name in _names(each)]
    return [*value, *_names(list(value.values()))] if isinstance(value, dict) else []


@given(ANY)
@example(b'{"a":1,"a":1}')
@example(b'{"a":1,"A":1}')
@example(b'{"a b":1,"ab":1}')
@example(b'{"a":1E+16}')
@example(b'["a,","A":1]')
@example(b'[{"":" ","":" "}]')
@example(b'{"a":"\\u0020","a":""}')
@example(b'{"a":[],"b":{"c":1,"C":{}},"d":" "}')
def test_usual_documents_are_accepted_and_read_alike_by_the_complete_rules(body: bytes):
    check(body)


@given(st.binary(max_size=60) | st.text('[]{}",:\\u0e1E+-. tn\x00aAé', max_size=40).map(str.encode))
def test_arbitrary_bytes_that_are_usual_are_read_alike_by_the_complete_rules(body: bytes):
    check(body)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | DECIMALS | st.text(st.characters(codec="utf-8")),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(USUAL_NAMES), inner),
        max_leaves=20,
    ),
    st.sampled_from((None, 2)),
)
def test_what_common_libraries_write_is_usual(value: object, indent: int | None):
    assert check(orjson.dumps(value))
    assert check(json.dumps(value, ensure_ascii=False, indent=indent).encode())


@pytest.mark.parametrize("name", ODD_NAMES)
@pytest.mark.parametrize(
    "document", ['{{"{}":1}}', '{{"a":0, "{}" :1}}', '["a,",{{\n"{}":1}}]', '[{{"a":{{ "{}":":"}}}}]']
)
def test_names_that_are_not_plain_are_left_to_the_complete_rules(name: str, document: str):
    assert read_usual(document.format(name).encode("utf-8", "surrogatepass")) is None


@pytest.mark.parametrize(
    "body", [b'{"a":1,"a":2}', b'{"a":1,"A":2}', b"[1E5]", b"[1E+16]", b"[1.50]", b"[-0]", b"[1e400]"]
)
def test_repeated_names_and_numbers_that_would_change_are_left_to_the_complete_rules(body: bytes):
    assert read_usual(body) is None


def test_the_words_of_a_usual_document_are_known():
    parsed = strictjson.parse(b'{"Task":1,"b":"Constructor"}')
    assert parsed.may_name((b"task", b"x"))
    assert parsed.may_name((b"x", b"constructor"))
    assert not parsed.may_name((b"__proto__", b"notifications"))


@pytest.mark.parametrize(
    "body", [b'{"\\u0074ask":1}', b'{"\xef\xbd\x94ask":1}', b'{"a":1.50}', b'"' + b"a" * LONGEST + b'"']
)
def test_any_word_may_be_in_other_documents(body: bytes):
    assert strictjson.parse(body).may_name((b"task", b"notifications"))
