"""Names as lenient readers take them, and the bounds that keep working that out cheap."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sidecar.protocol.strict.folding import MAX_MARKS, MAX_NAME, fault, fold, has_excess_marks

MARK, BELOW = "\u0301", "\u0323"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Limit", "limit"),
        ("\uff4c\uff49mit", "limit"),
        ("\u212aey", "key"),
        ("e\u0301", "É"),
        ("a\u0323\u0301", "a\u0301\u0323"),
        ("straße", "STRASSE"),
        ("ﬁle", "file"),
        ("가", "\u1100\u1161"),
    ],
)
def test_texts_that_a_reader_may_confuse_have_one_spelling(one: str, other: str):
    assert fold(one) == fold(other)


@pytest.mark.parametrize(("one", "other"), [("limit", "1imit"), ("e", "é"), ("a b", "ab"), ("\u0131", "i")])
def test_texts_that_no_normalisation_makes_equal_stay_apart(one: str, other: str):
    assert fold(one) != fold(other)


@given(st.text(st.characters(), max_size=8))
@example("\ufdfa")
def test_no_folded_name_is_shorter_and_folding_again_changes_nothing(text: str):
    assert len(fold(text)) >= len(text)
    assert fold(fold(text)) == fold(text)


@given(st.text(st.characters(codec="utf-8"), max_size=6))
def test_equal_under_nfkc_is_equal_when_folded(text: str):
    assert fold(unicodedata.normalize("NFKC", text)) == fold(text)


def test_a_name_of_the_most_bytes_is_folded_and_a_longer_one_refused():
    assert fault("k" * MAX_NAME) is None
    assert fault("é" * (MAX_NAME // 2)) is None
    assert fault("k" * (MAX_NAME + 1)) is not None
    assert fault("é" * (MAX_NAME // 2) + "k") is not None


@pytest.mark.parametrize("name", ["cafe\u0301", "Ho\u0323\u0302", "e" + MARK * MAX_MARKS, ("e" + MARK * MAX_MARKS) * 9])
def test_decomposed_names_are_accepted(name: str):
    assert fault(name) is None


@pytest.mark.parametrize("before", ["", "e", "é", "e" + MARK * MAX_MARKS + "e"])
@pytest.mark.parametrize("mark", [MARK, BELOW + MARK, "\u0f73", "\uff9e", "\u0345", "\U0001e94a"])
def test_too_many_marks_in_a_row_are_refused(before: str, mark: str):
    run = (mark * (MAX_MARKS + 1))[: MAX_MARKS + 1]
    assert has_excess_marks(before + run + "e")
    assert not has_excess_marks(before + run[:-1] + "e")


def test_every_character_that_only_adds_marks_counts_as_one():
    """Whatever this interpreter's Unicode version is: a new mark must not be left out."""
    starts = {
        code: unicodedata.normalize("NFKD", chr(code))[0] for code in range(0x110000) if not 0xD800 <= code < 0xE000
    }
    marks = [chr(code) for code, first in starts.items() if unicodedata.combining(first)]
    assert len(marks) > 800
    assert [mark for mark in marks if not has_excess_marks(mark * (MAX_MARKS + 1))] == []
