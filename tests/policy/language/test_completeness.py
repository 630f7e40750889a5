"""Policies that were emptied or cut short are errors and replace nothing."""

import pytest

from sidecar.config.documents.merging import DocumentError, parse
from sidecar.policy.language.compile import compile_policy
from sidecar.policy.rules import Policy

WHOLE = """\
scopes: {s: A scope.}
quotas: {rows: {month: 100}}
plans:
  free:
    tools: [t]
    quotas: {rows: {month: null}}
  paid: {}
tools:
  t:
    scopes: [s]
    arguments:
      properties: {n: {type: integer, enum: [1, null]}}
    uses: {rows: arguments.n}
tests:
  - {name: a test, call: {tool: t, arguments: {n: null}}, expect: insufficient_scope}
"""


def compiled(*texts: str) -> Policy:
    return compile_policy([parse(f"p{number}.yaml", text) for number, text in enumerate(texts, 1)])


def refused(*texts: str) -> list[str]:
    with pytest.raises(DocumentError) as caught:
        compiled(*texts)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize("text", ["", "\n", "# tools: {t: {scopes: []}}\n", "---\n", "{}", "~"])
def test_an_empty_file_is_an_error(text: str):
    (problem,) = refused(text)
    assert "p1.yaml" in problem
    assert "an empty file" in problem
    assert "empty: true" in problem


@pytest.mark.parametrize("text", ["", "# comment\n"])
def test_an_empty_file_is_an_error_next_to_others(text: str):
    (problem,) = refused(WHOLE, text)
    assert "p2.yaml" in problem
    assert "an empty file" in problem


@pytest.mark.parametrize(
    "text",
    [
        "tools: {}",
        "scopes: {s: A scope.}",
        'resources: {"docs://*": {scopes: []}}',
        "prompts: {p: {scopes: []}}",
        "methods: {logging/setLevel: {scopes: []}}",
        "empty: false",
    ],
)
def test_a_policy_without_tools_is_an_error(text: str):
    (problem,) = refused(text)
    assert "declares no tools" in problem
    assert "empty: true" in problem


def test_no_files_are_no_policy():
    with pytest.raises(DocumentError, match="declares no tools"):
        compile_policy([])


@pytest.mark.parametrize("text", ["empty: true", 'empty: true\nresources: {"docs://*": {scopes: []}}\n'])
def test_a_policy_without_tools_can_say_that_it_is_meant(text: str):
    assert not compiled(text).tools


def test_a_policy_with_tools_is_not_empty():
    """Else the words would stay, and a file that is cut later would be taken for what is meant."""
    (problem,) = refused(f"{WHOLE}empty: true\n")
    assert "empty: the policy has tools" in problem


def test_one_file_of_several_may_be_without_tools():
    assert list(compiled(WHOLE, 'resources: {"docs://*": {scopes: []}}').tools) == ["t"]


@pytest.mark.parametrize("key", ["plans", "tools", "quotas", "scopes"])
def test_a_section_that_was_cut_off_is_an_error_next_to_a_whole_file(key: str):
    """No plans would mean that every account may call everything."""
    other = "defaults: {}\n" if key == "tools" else "tools: {u: {scopes: []}}"
    assert any(f"{key}: " in problem for problem in refused(f"{key}:\n", other))


@pytest.mark.parametrize(
    ("before", "key"),
    [
        ("[t]", "plans.free.tools"),
        ("{n: {type", "tools.t.arguments.properties"),
        ("\n      properties", "tools.t.arguments"),
        ("{rows: arguments", "tools.t.uses"),
        ("[s]\n", "tools.t.scopes"),
    ],
)
def test_a_key_whose_value_was_cut_off_is_an_error(before: str, key: str):
    """Null would stand for what permits more: all tools, any arguments, no price."""
    cut = WHOLE[: WHOLE.index(before)]
    problems = refused(cut if "tools:\n" in cut else f"{cut}\ntools: {{t: {{scopes: []}}}}\n")
    assert any(f" {key}: " in problem for problem in problems), problems


def test_null_is_a_value_where_json_or_an_unlimited_window_may_stand():
    assert compiled(WHOLE).plans is not None


def test_most_places_where_a_file_may_be_cut_are_errors():
    lines = WHOLE.splitlines(keepends=True)
    whole = [number for number in range(len(lines)) if not _is_refused("".join(lines[:number]))]
    # What ends behind a whole rule is a policy of its own, and nothing in it says that there was more.
    assert whole == [10, 12, 13]


def _is_refused(text: str) -> bool:
    try:
        compiled(text)
    except DocumentError:
        return True
    return False
