"""Threads of patterns: few for those that people write, many where repeats overlap."""

from __future__ import annotations

import pytest

from sidecar.policy.matching.pattern_limits import MOST_THREADS
from sidecar.policy.matching.pattern_threads import UNKNOWN, threads_of

HONEST = [
    "^[a-z]+$",
    "^[A-Za-z0-9_-]{1,128}$",
    "^.{1,2000}$",
    r"^\p{L}{1,100}$",
    r"^(?:\p{L}|\p{N}|[ _-]){1,80}$",
    r"^\p{Lu}\p{Ll}{1,50}( \p{Lu}\p{Ll}{1,50}){0,5}$",
    "^[^@]{1,64}@[^@]{1,255}$",
    r"^[\w.+-]{1,64}@[\w-]{1,63}(\.[\w-]{1,63}){1,8}$",
    r"^(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}$",
    "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
    r"\d{4}-\d{2}-\d{2}",
    r"^\+?[1-9]\d{1,14}$",
    r"^(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(\.(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)){3}$",
    r"^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$",
    "(?i)^[a-z ]*(select|drop)[a-z ]*$",
    r"^\s*\S.{0,200}\s*$",
    r"^[\x{4e00}-\x{9fff}]{1,50}$",
    "^(" + "|".join(f"word{number}" for number in range(100)) + ")$",
    "^.*a.{8}",
    r"\S",
    "",
]


@pytest.mark.parametrize("pattern", HONEST)
def test_patterns_that_people_write_have_few_threads(pattern: str):
    assert threads_of(pattern) <= MOST_THREADS


@pytest.mark.parametrize(
    ("pattern", "threads"),
    [
        ("^[ab]*a[ab]{200}", 202),
        ("^[ab]{1,100}[ab]{1,100}$", 102),
        ("[ab]{1,1000}c", 1001),
        (r"\w{1,50}x", 51),
        (r"^(?P<n>\w*)_\w{60}$", 62),
        (r"^[\p{L}&&[a-z]]*a[a-z]{90}$", 92),
        (r"(?:a|b|ab){1,200}[cd]", 601),
        (r"^[\W\d]*[^a-z]{40}$", 41),
        (r"(?i)^[a-z]*A[A-Z]{30}$", 32),
        (r"^\x61*[\x{61}-\x63]{70}$", 71),
    ],
)
def test_repeats_that_overlap_count_in_full(pattern: str, threads: int):
    assert threads <= threads_of(pattern) <= 1.4 * threads


@pytest.mark.parametrize("pattern", ["(?x) a * b", "^(" + "[ab]?" * 300 + ")*$"])
def test_what_is_not_understood_is_taken_for_dear(pattern: str):
    assert threads_of(pattern) == UNKNOWN
