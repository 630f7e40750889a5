"""Warnings: one for each thing that is probably not meant, none for a sound policy."""

import pytest

from sidecar.config.documents.merging import parse
from sidecar.policy.language.compile import compile_policy
from sidecar.workbench.lint import lint

SOUND = """\
scopes: {read: Read., write: {description: Write., implies: [read]}}
quotas: {requests: {minute: 60}}
credits: {contact: One.}
default_plan: free
plans: {free: {tools: [search, reveal]}}
tools:
  search: {scopes: [read], uses: {requests: 1}}
  reveal:
    scopes: [read]
    arguments: {properties: {ids: {type: array}}, required: [ids], additionalProperties: false}
    spends: {contact: {items: arguments.ids}}
"""
OPEN = ", additionalProperties: false"


def found(*changes: tuple[str, str]) -> list[str]:
    text = SOUND
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return linted(text)


def linted(text: str) -> list[str]:
    document = parse("p.yaml", text)
    return [str(each) for each in lint(compile_policy([document]), (), document)]


def test_a_sound_policy_has_none():
    assert found() == []


@pytest.mark.parametrize(
    ("old", "new", "notice"),
    [
        (
            "default_plan: free",
            "consent: first_use\ndefault_plan: free",
            "p.yaml:4: consent: first_use admits every client",
        ),
        ("default_plan: free\n", "", "p.yaml:4: there are plans and no default_plan"),
        ("implies: [read]", "implies: []", "p.yaml:1: scope 'write' opens nothing"),
        ("uses: {requests: 1}", "uses: {}", "p.yaml:2: quota 'requests' limits nothing"),
        ("plans:", "methods: {completion/complete: {scopes: []}}\nplans:", "p.yaml:5: neither prompts nor resources"),
        (
            "[search, reveal]}",
            "[search, reveal], prompts: []}}\nprompts: {x: {scopes: []}",
            "p.yaml:6: no plan includes x",
        ),
        ("plans:", 'resources: {"https://*.example.com/*": {scopes: []}}\nplans:', "p.yaml:5: the * in the host of"),
        ("plans:", 'resources: {"https://example.com*": {scopes: []}}\nplans:', "p.yaml:5: the * in the host of"),
        ("contact: One.", "contact: One., mail: One.", "p.yaml:3: credits 'mail' pay for nothing"),
        ("[search, reveal]", "[search]", "p.yaml:8: no plan includes reveal"),
        (
            "credits:",
            "base_scopes: [read]\nprompts: {a: {scopes: [write]}, b: {scopes: [write]}}\ncredits:",
            "p.yaml:4: base_scopes leaves out 'write', which a needs",
        ),
        (OPEN, "", "p.yaml:8: reveal is priced and takes arguments that are not declared"),
        (OPEN, ", additionalProperties: {type: string}", "p.yaml:8: reveal is priced"),
        ("uses: {requests: 1}", "uses: {requests: {reserve: 1, settle: length(data)}}", "p.yaml:7: search is priced"),
    ],
)
def test_each_warning(old, new, notice):
    (only,) = found((old, new))
    assert only.startswith(notice)


@pytest.mark.parametrize("pattern", ["docs://*", "*", "https://example.com/*", "https://example.com/a*/b?*"])
def test_other_patterns_are_sound(pattern):
    assert found(("plans:", f'resources: {{"{pattern}": {{scopes: []}}}}\nplans:')) == []


@pytest.mark.parametrize("base", ["[write]", "[read]", "[]"])
def test_base_scopes_may_imply_the_needed_ones_or_be_empty(base):
    assert found(("credits:", f"base_scopes: {base}\ncredits:")) == []


def test_what_other_operations_use_is_used():
    moved = ("uses: {requests: 1}", "uses: {}")
    assert found(moved, ("plans:", "prompts: {x: {scopes: [], uses: {requests: 1}}}\nplans:")) == []


def test_a_policy_that_allows_nothing():
    assert linted("empty: true") == [
        "p.yaml:1: no tool, resource, prompt or method is declared, so clients can do nothing"
    ]
