"""URIs and templates that make matching patterns work much harder than others of their length."""

import contextlib
from typing import Any

import pytest

from sidecar.errors import Refusal
from sidecar.policy.lookup import MAX_EXPRESSIONS, resource_of, subject_of
from sidecar.policy.patterns import Pattern
from sidecar.protocol.uris.uris import MAX_LENGTH
from tests.hostile.work import assert_linear
from tests.policy.support import policy, request

RULES = policy(
    """
    empty: true
    resources:
      docs://*: {scopes: []}
      docs://secret/*: {scopes: []}
      docs://a*a*b*c*d*e*f*g!: {scopes: []}
      docs://one: {scopes: []}
      https://h/*: {scopes: []}
    methods:
      completion/complete: {scopes: []}
    """
)
TEXT = "abcdefgh/" * (MAX_LENGTH // 9 - 1) + "."  # judged by the complete rules: plain URIs take a tenth of the time


def found(uri: str) -> None:
    with contextlib.suppress(Refusal):
        resource_of(RULES, uri)


def named(template: str) -> dict[str, Any]:
    return {"ref": {"type": "ref/resource", "uri": template}, "argument": {"name": "a", "value": ""}}


def completed(template: str) -> None:
    with contextlib.suppress(Refusal):
        subject_of(RULES, request("completion/complete", named(template)))


@pytest.mark.parametrize(
    "part",
    [
        ".",
        ". ",
        "...x",
        "a",
        "ab",
        "/",
        "//",
        ";",
        ";/",
        ":",
        ":80",
        ":80/",
        "%41",
        "%2541",
        "%",
        "{",
        "{a}",
        "?",
        "*",
        "-.",
        "\0",
    ],
)
@pytest.mark.parametrize("scheme", ["docs://", "https://h/", "https://", "docs:"])
@pytest.mark.parametrize("end", ["", "x", "/", "f"])
def test_a_uri_of_one_thing_repeated_is_matched_in_linear_time(scheme: str, part: str, end: str):
    uri = scheme + part * ((MAX_LENGTH - 20) // len(part)) + end
    assert_linear(lambda: found(uri), lambda: found(f"docs://{TEXT}"))


@pytest.mark.parametrize(
    "part", ["\u00e9%25", "\U000110ba\U00011099", "\u00e9\U000110ba", "\u00e9\U000110ba%25//", "\ufdfa="]
)
def test_a_uri_beyond_ascii_costs_what_its_characters_cost(part: str):
    """Escapes between such characters, and astral marks, once took twenty times as long as letters."""
    uri = "docs://" + part * (4000 // len(part))
    benign = "docs://%25" + "\u1ebf" * len(uri)  # judged by the complete rules
    assert_linear(lambda: found(uri), lambda: found(benign), most=4)


@pytest.mark.parametrize("part", ["{a}b", "{a}\u00e9", "{}%c3%a9", "{};\u00e9"])
def test_a_template_of_very_many_expressions_is_refused_before_their_texts_are_folded(part: str):
    template = "docs://" + part * (12_000 // len(part))
    assert_linear(lambda: completed(template), lambda: completed(f"docs://{TEXT}"), most=3)
    with pytest.raises(Refusal) as refused:
        subject_of(RULES, request("completion/complete", named(template)))
    assert "expressions" in (refused.value.detail or "")


def test_a_template_of_as_many_expressions_as_are_accepted_is_matched():
    assert subject_of(RULES, request("completion/complete", named("docs://" + "{a}b" * MAX_EXPRESSIONS))).related


@pytest.mark.parametrize("part", [".", "a", "/", ";", "{a}", "{", "{}", "}", "{a", "{a}x", "%7B", "{a}."])
def test_a_template_is_matched_in_linear_time(part: str):
    template = f"docs://{part * ((MAX_LENGTH - 20) // len(part))}x"
    assert_linear(lambda: completed(template), lambda: completed(f"docs://{TEXT}"))


@pytest.mark.parametrize("part", ["{a}", "{", "{a", "a"])
def test_a_template_of_a_megabyte_is_refused_in_linear_time(part: str):
    short, long = (f"docs://{part * (size // len(part))}" for size in (200_000, 1_000_000))
    assert_linear(lambda: completed(long), lambda: completed(short))


@pytest.mark.parametrize("literal", ["a", "ab", "aab", "aaaaaaaaab"])
@pytest.mark.parametrize("wildcards", [1, 10, 100])
def test_wildcards_do_not_backtrack(literal: str, wildcards: int):
    """Every literal is looked for once, from the end of the one before it."""
    pattern = Pattern.of("*".join(["docs://", *[literal] * wildcards, "!"]))
    hostile, benign = "docs://" + "a" * 80_000 + "?", "docs://" + "x" * 80_000 + "?"
    assert not pattern.matches(hostile)
    assert_linear(
        lambda: [pattern.matches(hostile) for _ in range(20)], lambda: [pattern.matches(benign) for _ in range(20)]
    )
    ended = f"{hostile}!"
    assert_linear(lambda: pattern.matches(ended), lambda: [ended.find("y") for _ in range(10)])
