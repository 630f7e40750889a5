"""Patterns of URIs: which one counts, what two of them have in common, and spellings that none may escape by."""

from __future__ import annotations

import re
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.policy.patterns import Pattern, Patterns, ties
from sidecar.protocol.uris import uris

GLOBS = st.text(alphabet="ab/*", min_size=1, max_size=6)
SHORT = st.text(alphabet="ab/*", min_size=1, max_size=3)
TEXTS = ["".join(letters) for length in range(7) for letters in product("ab/", repeat=length)]


def as_regex(glob: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, glob.split("*"))), re.DOTALL)


# --- matching ------------------------------------------------------------------------------------


@given(GLOBS, st.text(alphabet="ab/", max_size=9))
def test_a_pattern_matches_what_the_regular_expression_matches(glob: str, text: str):
    assert Pattern.of(glob).matches(text) == bool(as_regex(glob).fullmatch(text))


@given(SHORT, SHORT)
def test_two_patterns_meet_where_one_text_matches_both(one: str, two: str):
    first, second = as_regex(one), as_regex(two)
    # No text that both match needs to be longer than both together.
    found = any(first.fullmatch(text) and second.fullmatch(text) for text in TEXTS)
    assert Pattern.of(one).overlaps(Pattern.of(two)) is found
    assert Pattern.of(two).overlaps(Pattern.of(one)) is found


@given(GLOBS, GLOBS)
def test_a_pattern_covers_another_when_it_matches_all_that_one_does(one: str, two: str):
    if Pattern.of(one).covers(Pattern.of(two)):
        assert all(as_regex(one).fullmatch(text) for text in TEXTS if as_regex(two).fullmatch(text))


@pytest.mark.parametrize(
    ("one", "two", "covers"),
    [
        ("docs://*", "docs://a/*", True),
        ("*", "docs://a/*", True),
        ("docs://*/x", "docs://a/*/x", True),
        ("docs://a/*", "docs://*", False),
        ("docs://*/x", "docs://*", False),
        ("docs://a", "docs://a*", False),
        ("docs://*a*", "docs://*b*", False),
    ],
)
def test_covering(one: str, two: str, covers: bool):
    assert Pattern.of(one).covers(Pattern.of(two)) is covers


def test_matching_is_linear_in_the_text():
    assert not Pattern.of("*a" * 200 + "b").matches("a" * 8000)


DECLARED = ["docs://*", "docs://secret/*", "docs://secret/open", "*.md", "https://example.com/*/public", "docs://a*z"]


@pytest.mark.parametrize(
    ("uri", "found"),
    [
        ("docs://x", "docs://*"),
        ("docs://", "docs://*"),
        ("docs://secret/", "docs://secret/*"),
        ("docs://secret/x", "docs://secret/*"),
        ("docs://secret", "docs://*"),
        ("docs://secret/open", "docs://secret/open"),
        ("docs://secret/open.md", "docs://secret/*"),
        ("docs://az", "docs://a*z"),
        ("docs://ay", "docs://*"),
        ("file:///x.md", "*.md"),
        ("https://example.com/a/b/public", "https://example.com/*/public"),
        ("https://example.com/public", None),
        ("DOCS://x", None),
        ("Docs://x", None),
        ("docs:/x", None),
        ("xdocs://x", None),
        ("*.md", "*.md"),
        ("docs://*", "docs://*"),
    ],
)
def test_exact_comes_first_then_the_longest_literal_prefix(uri: str, found: str | None):
    for declared in (DECLARED, DECLARED[::-1]):
        assert Patterns(declared).find(uri) == found


@pytest.mark.parametrize(
    ("uri", "ambiguous"),
    [
        ("http://internal:80/x", True),
        ("http://internal:/x", True),
        ("http://internal./x", True),
        ("http://INTERNAL.:443/x", True),
        ("http://internal:80", True),
        ("http://internal%20/x", True),
        ("http://internal:8080/x", False),
        ("http://internal.example:80/x", False),
        ("http://other:80/internal/x", False),
    ],
)
def test_a_name_with_its_usual_port_or_dots_and_spaces_at_its_end_is_the_same_name(uri: str, ambiguous: bool):
    patterns = Patterns(["http://*", "http://internal", "http://internal/*"])
    assert patterns.find(uri) == "http://*"
    assert patterns.ambiguous(uri, "http://*") is ambiguous


def test_no_patterns_match_nothing():
    assert Patterns().find("docs://a") is None


# --- ties ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "two", "tie"),
    [
        ("docs://*a", "docs://*b", False),
        ("docs://*a", "docs://*ba", True),
        ("docs://*", "docs://*x", True),
        ("docs://a*", "docs://b*", False),
        ("docs://a*", "docs://ab*", False),
        ("docs://*/a", "docs://*/b/*", True),
        ("docs://a", "docs://b", False),
        ("docs://*", "docs://a", False),
        ("*", "**", True),
    ],
)
def test_a_tie_is_two_patterns_that_can_match_one_uri_and_are_equally_exact(one: str, two: str, tie: bool):
    assert list(ties([one, two])) == ([(two, one)] if tie else [])


@given(st.lists(GLOBS, min_size=1, max_size=4, unique=True), st.text(alphabet="ab/", max_size=6))
def test_without_ties_the_order_of_declaration_does_not_matter(globs: list[str], text: str):
    if not list(ties(globs)):
        assert Patterns(globs).find(text) == Patterns(globs[::-1]).find(text)


# --- other spellings -----------------------------------------------------------------------------

SECRET = Patterns(["docs://*", "docs://h/*", "docs://h/secret", "docs://h/secret/*"])
CARVED = Patterns(["docs://h/*", "docs://h/secret", "docs://h/secret/*", "docs://h/secret?*", "docs://*/public"])


@pytest.mark.parametrize(
    "uri",
    [
        *("docs://h/SECRET", "docs://h/Secret/x", "docs://h/%73ecret", "docs://h/%2573ecret", "docs://h/s%65cret/x"),
        *("docs://h//secret", "docs://h///secret/x", "docs://h/secret/", "docs://h/secret;v=1", "docs://h/secret;/x"),
        *("docs://h/secret%3Fx", "docs://h/secret%23x", "docs://h/\uff53ecret", "docs://h/%EF%BD%93ecret"),
        *("docs://h/secr%E2%80%8Bet", "docs://H/secret", "docs://h/secret//", "docs://h/\u017fecret"),
        # Parameters first, then the empty segments that they leave.
        *("docs://h/;x/secret", "docs://;x/h/secret", "docs://h/;/;x=1/secret/x", "docs://h/%3Bx/secret/"),
        *("docs://h/secret/;x", "docs://h;x/;y//;z/SECRET", "docs://h/;x/secret?q", "docs://h/.../secret"),
    ],
)
def test_a_spelling_under_which_a_looser_reader_finds_a_more_exact_rule_has_none(uri: str):
    found = SECRET.find(uri)
    assert uris.fault(uri) is None
    assert found in ("docs://*", "docs://h/*", "docs://h/secret/*")
    assert found == "docs://h/secret/*" or SECRET.ambiguous(uri, found)


@pytest.mark.parametrize(
    ("uri", "found"),
    [
        ("docs://h/secret", "docs://h/secret"),
        ("docs://h/secret/x", "docs://h/secret/*"),
        ("docs://h/secret?x=1", "docs://h/secret?*"),
        ("docs://h/other", "docs://h/*"),
        ("docs://h/OTHER?x=1", "docs://h/*"),
        ("docs://h/a//b/", "docs://h/*"),
        ("docs://h/secrets", "docs://h/*"),
        ("docs://x/public", "docs://*/public"),
    ],
)
def test_spellings_that_no_parser_reads_differently(uri: str, found: str):
    assert CARVED.find(uri) == found
    assert not CARVED.ambiguous(uri, found)


def test_a_wider_rule_that_only_a_parameter_satisfies_does_not_count():
    patterns = Patterns(["docs://*", "docs://h/*/open"])
    assert patterns.find("docs://h/;x/open") == "docs://h/*/open"
    assert patterns.ambiguous("docs://h/;x/open", "docs://h/*/open")
    assert not patterns.ambiguous("docs://h/y;x/open", "docs://h/*/open")


def test_a_slash_at_the_end_makes_no_other_resource_of_what_is_named():
    patterns = Patterns(["docs://*", "docs://h/one", "docs://h/two/"])
    for uri in ("docs://h/one/", "docs://h/two", "docs://h/two//", "docs://h/two?x"):
        assert patterns.ambiguous(uri, "docs://*")
    for uri in ("docs://h/three/", "docs://h/tw", "docs://h/two/x"):
        assert not patterns.ambiguous(uri, "docs://*")


@pytest.mark.parametrize("uri", ["docs://x/secret?/public", "docs://x/secret%3F/public"])
def test_a_query_does_not_stand_in_for_a_path(uri: str):
    assert CARVED.find(uri) == "docs://*/public"
    assert CARVED.ambiguous(uri, "docs://*/public")


def test_two_cases_that_are_both_declared_are_both_served():
    both = Patterns(["docs://A/*", "docs://a/*", "docs://B", "docs://b"])
    for uri in ("docs://A/x", "docs://a/x", "docs://B", "docs://b"):
        assert not both.ambiguous(uri, both.find(uri) or "")


SPELLINGS = st.lists(
    st.sampled_from(
        ["/", "//", "s", "secret", "SECRET", "%73ecret", "%2573", "..", ".", "%2e", ";", ";x", "?", "#", "public", "a"]
    ),
    max_size=6,
).map(lambda parts: "docs://h/" + "".join(parts))
RULES = Patterns(["docs://h/*", "docs://h/secret*", "docs://*/public"])


@given(SPELLINGS)
def test_no_spelling_of_what_is_carved_out_is_found_under_the_wider_rule(uri: str):
    found = RULES.find(uri)
    if uris.fault(uri) is not None or found is None or RULES.ambiguous(uri, found):
        return
    path = re.split(r"[?#]", uris.fold(uri).removeprefix("docs:"))[0]
    path = re.sub(r"/+", "/", re.sub(r";[^/]*", "", path)).removeprefix("/")
    if path.startswith("h/secret"):
        assert found == "docs://h/secret*"
    if found == "docs://*/public":
        assert path.endswith("/public")


FOLDED_PIECES = st.lists(st.sampled_from(["/", "h", "secret", "x", "public", ".", "a.md", "S", "?", "%41"]), max_size=5)


@pytest.mark.parametrize("patterns", [SECRET, CARVED, RULES, Patterns(["docs://*", "docs://H/*", "docs://h/secret/"])])
@given(SPELLINGS | FOLDED_PIECES.map(lambda parts: "docs://h/" + "".join(parts)))
def test_the_entry_of_a_list_is_found_as_a_call_finds_it(patterns: Patterns, uri: str):
    found = patterns.find(uri)
    accepted = found is not None and uris.complete_fault(uri) is None and not patterns.ambiguous(uri, found)
    assert patterns.find_certain(uri) == (found if accepted else None)


# --- templates -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "met", "covered"),
    [
        ("docs://{path}", ["docs://*", "docs://secret/*", "docs://one"], True),
        ("docs://secret/{id}", ["docs://*", "docs://secret/*"], True),
        ("docs://open/{id}", ["docs://*"], True),
        ("docs://o{rest}", ["docs://*", "docs://one"], True),
        ("docs://{a}/{b}", ["docs://*", "docs://secret/*"], True),
        ("{+uri}", ["docs://*", "docs://secret/*", "docs://one"], False),
        ("file://{path}", [], False),
        ("docs://one", ["docs://*", "docs://one"], True),
    ],
)
def test_what_a_template_may_become(template: str, met: list[str], covered: bool):
    patterns = Patterns(["docs://*", "docs://secret/*", "docs://one"])
    assert list(patterns.met(template)) == met
    assert patterns.covered(template) is covered


def test_loosely_a_template_meets_what_is_spelt_otherwise():
    patterns = Patterns(["docs://*", "docs://secret/*"])
    assert list(patterns.met("docs://SECRET/{x}")) == ["docs://*"]
    assert list(patterns.met("docs://SECRET/{x}", loosely=True)) == ["docs://*", "docs://secret/*"]


@pytest.mark.parametrize("template", ["docs://;x/secret/{id}", "docs://{a};x/secret/{id}", "docs://%3B{a}/b"])
def test_loosely_a_template_with_parameters_meets_everything(template: str):
    patterns = Patterns(["docs://*", "docs://secret/*"])
    assert list(patterns.met(template, loosely=True)) == ["docs://*", "docs://secret/*"]
