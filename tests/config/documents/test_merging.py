"""Reading YAML strictly: what it means, where it stands, and every problem at once."""

import contextlib
import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config.documents.merging import Document, DocumentError, Position, Problem, merge, parse, path_text
from sidecar.config.documents.strict_yaml import MAX_DEPTH

NO_ALIAS = "an alias of nothing above it; accepted: the name of an anchor above it, or quotes around the value"


def problems_of(document: Document) -> list[str]:
    return [str(problem) for problem in document.problems]


def fatal(text: str) -> list[str]:
    with pytest.raises(DocumentError) as caught:
        parse("x.yaml", text)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("on", "on"),
        ("yes", "yes"),
        ("No", "No"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("12", 12),
        ("-7", -7),
        ("+7", 7),
        ("0x1F", 31),
        ("0o17", 15),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2026-07-28", "2026-07-28"),
        ("'12'", "12"),
        ('"\\ud83d\\ude00"', "\U0001f600"),
        ("!!str 12", "12"),
        ("|\n  a\n  b\n", "a\nb\n"),
        ("[1, {a: b}]", [1, {"a": "b"}]),
    ],
)
def test_scalars_follow_the_core_schema(written, value):
    document = parse("x.yaml", f"key: {written}")
    assert document.value == {"key": value}
    assert type(document.value["key"]) is type(value)
    assert document.problems == ()


def test_keys_are_text_whatever_they_look_like():
    assert parse("x.yaml", "on: 1\n12: 2\nnull: 3\ntrue: 4").value == {"on": 1, "12": 2, "null": 3, "true": 4}


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", "~"])
def test_an_empty_file_is_an_empty_mapping(text):
    assert parse("x.yaml", text).value == {}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "a: 1\nb:\n  c: 1\n  c: 2",
            "x.yaml:4:3: b.c: given twice, the first time at x.yaml:3:3; accepted: each key once",
        ),
        ("a: 010", "x.yaml:1:4: a: a number that starts with 0; accepted: no leading zero, or quotes; found: '010'"),
        ("a: .inf", "x.yaml:1:4: a: not a finite number; accepted: a number of JSON, or quotes; found: '.inf'"),
        ("a: 1e999", "x.yaml:1:4: a: not a finite number; accepted: a number of JSON, or quotes; found: '1e999'"),
        (
            "a: " + "9" * 5000,
            f"x.yaml:1:4: a: not a finite number; accepted: a number of JSON, or quotes; found: '{'9' * 60}…'",
        ),
        ("a: !!int '1'", "x.yaml:1:4: a: tags are not supported; accepted: no tag"),
        ("a: !!python/object:os.system {}", "x.yaml:1:4: a: tags are not supported; accepted: no tag"),
        ("? [a]\n: 1", "x.yaml:1:3: (top): this cannot be a key; accepted: text, with quotes if it has {} or []"),
        ("a: &x {b: 1}\nc: {<<: *x}", "x.yaml:2:5: c.<<: merge keys are not supported; accepted: the keys in full"),
        ("a: *missing", f"x.yaml:1:4: a: {NO_ALIAS}"),
        ("a: &x [*x]", f"x.yaml:1:8: a[0]: {NO_ALIAS}"),
        ('a: "\\ud800"', "x.yaml:1:4: a: half of a surrogate pair; accepted: whole characters"),
    ],
)
def test_values_that_other_parsers_read_differently_are_problems(text, problem):
    assert problems_of(parse("x.yaml", text)) == [problem.replace("c.<<", 'c["<<"]')]


def test_the_first_of_two_equal_keys_is_kept_and_reading_continues():
    document = parse("x.yaml", "a: 1\na: {b: 2, b: 3}\nc: 4")
    assert document.value == {"a": 1, "c": 4}
    assert [problem.path for problem in document.problems] == ["a", "a.b"]


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("a: [1,\nb: }", "x.yaml:2:4: not YAML: "),
        ("a: b: c", "x.yaml:1:5: not YAML: "),
        ("a:\n\tb: 1", "x.yaml:2:1: not YAML: "),
        ("a: 1\nb: \x07", "x.yaml:2:4: a character that YAML does not allow"),
        ("- 1", "x.yaml:1:1: (top): the file is not a mapping; accepted: keys with values"),
        ("text", "x.yaml:1:1: (top): the file is not a mapping"),
        ("a: 1\n---\nb: 2", "x.yaml:2:1: a second document; accepted: one document per file"),
        ("a: " + "[" * 100_000, f"x.yaml:1:{3 + MAX_DEPTH + 1}: nested deeper than {MAX_DEPTH} levels"),
    ],
)
def test_unreadable_text_is_reported_with_its_place(text, start):
    assert fatal(text)[-1].startswith(start)


def test_lesser_problems_are_reported_with_the_fatal_one():
    assert [line.split(": ")[0] for line in fatal("a: 1\na: 2\nb: [")] == ["x.yaml:2:1", "x.yaml:3:5"]


def test_aliases_give_the_same_value_and_cannot_explode():
    document = parse("x.yaml", "a: &x [1, 2]\nb:\n  c: *x")
    assert document.value == {"a": [1, 2], "b": {"c": [1, 2]}}
    assert str(document.value_place(("b", "c", 1))) == "x.yaml:3:6"
    bomb = "a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
        f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
    )
    assert "values in one file" in fatal(bomb)[0]


def test_places_of_keys_values_and_what_is_missing():
    document = parse("x.yaml", "a:\n  b: [10,\n      {c: 1}]\n")
    assert document.place(("a", "b")) == Position("x.yaml", 2, 3)
    assert document.value_place(("a", "b")) == Position("x.yaml", 2, 6)
    assert document.place(("a", "b", 1, "c")) == Position("x.yaml", 3, 8)
    assert document.place(("a", "b", 1, "missing")) == Position("x.yaml", 3, 7)
    assert document.place(("missing",)) == Position("x.yaml", 1, 1)
    assert document.rule(("a", "b")) == "x.yaml:2"


def test_paths_as_text():
    assert path_text(()) == "(top)"
    assert path_text(("tools", "reveal_contacts", "scopes", 0)) == "tools.reveal_contacts.scopes[0]"
    assert path_text(("tools", 'a."b')) == 'tools["a.\\"b"]'
    assert path_text(("scopes", "contacts:reveal")) == "scopes.contacts:reveal"


def test_errors_are_sorted_and_said_once():
    late, early = (
        Problem(Position("x.yaml", 10, 1), "a", "wrong"),
        Problem(Position("x.yaml", 9, 1), "b", "wrong", "right"),
    )
    assert str(DocumentError([late, early, late])) == "x.yaml:9:1: b: wrong; accepted: right\nx.yaml:10:1: a: wrong"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=50), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_json_is_read_as_json(value):
    text = json.dumps({"key": value}).replace("\x7f", "\\u007f")  # the one letter that YAML wants escaped
    assert parse("x.yaml", text).value == {"key": value}


@given(st.text())
def test_no_text_crashes_the_reader(text):
    with contextlib.suppress(DocumentError):
        parse("x.yaml", text)


# --- merging -----------------------------------------------------------------------------------

FIRST = "tools:\n  one: {scopes: []}\nlisting: {}\ntests:\n- name: a\n"
SECOND = "# more\ntools:\n  two: {scopes: []}\ntests:\n- name: b\n- name: c\n"


def merged(*texts: str) -> Document:
    documents = [parse(f"{name}.yaml", text) for name, text in zip("abc", texts, strict=False)]
    return merge(documents, named=("tools",), joined=("tests",))


def test_names_are_merged_and_lists_joined_with_their_places():
    document = merged(FIRST, SECOND)
    assert document.problems == ()
    assert document.value == {
        "tools": {"one": {"scopes": []}, "two": {"scopes": []}},
        "listing": {},
        "tests": [{"name": "a"}, {"name": "b"}, {"name": "c"}],
    }
    assert document.rule(("tools", "one", "scopes")) == "a.yaml:2"
    assert document.rule(("tools", "two", "scopes")) == "b.yaml:3"
    assert str(document.value_place(("tests", 2, "name"))) == "b.yaml:6:9"


def test_names_and_sections_given_twice_name_both_places():
    document = merged(FIRST, "listing: {}\ntools:\n  one: {scopes: [x]}\n")
    assert problems_of(document) == [
        "b.yaml:1:1: listing: given twice, the first time at a.yaml:3:1; accepted: each name once",
        "b.yaml:3:3: tools.one: given twice, the first time at a.yaml:2:3; accepted: each name once",
    ]
    assert document.value["tools"]["one"] == {"scopes": []}
    assert document.rule(("tools", "one", "scopes")) == "a.yaml:2"


def test_merging_changes_no_document_and_keeps_their_problems():
    first, second = parse("a.yaml", FIRST + "x: 01\n"), parse("b.yaml", SECOND)
    before = copy.deepcopy((first, second))
    document = merge([first, second], named=("tools",), joined=("tests",))
    assert (first, second) == before
    assert [problem.path for problem in document.problems] == ["x"]


def test_a_section_of_another_kind_is_not_merged():
    assert [problem.path for problem in merged("tools: {}", "tools: []").problems] == ["tools"]


def test_the_digest_tells_documents_apart_and_only_documents():
    assert parse("a", "x: 1").digest == parse("b", "x: 1").digest != parse("a", "x: 2").digest
    assert merged(FIRST, SECOND).digest == merged(FIRST, SECOND).digest
    assert len({merged(FIRST, SECOND).digest, merged(SECOND, FIRST).digest, merged(FIRST).digest}) == 3
