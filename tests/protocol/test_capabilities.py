"""Capabilities that the policy closes are not announced."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.model import Revision
from sidecar.protocol.capabilities import Served, announced

OFFERED: dict[str, Any] = {
    "logging": {},
    "completions": {},
    "prompts": {"listChanged": True},
    "resources": {"subscribe": True, "listChanged": True},
    "tools": {"listChanged": True},
    "experimental": {"x": {}},
}
LEGACY, MODERN = Revision.V2025_11_25, Revision.V2026_07_28
ALL = frozenset({"tools", "resources", "prompts"})


def kept(revision: Revision, *methods: str, sections: frozenset[str] = ALL) -> dict[str, Any]:
    result = {"capabilities": OFFERED, "instructions": "Talk."}
    changed = announced(result, revision, Served(methods, sections))
    assert changed["instructions"] == "Talk."
    capabilities: dict[str, Any] = changed["capabilities"]
    return capabilities


@pytest.mark.parametrize("revision", Revision)
@pytest.mark.parametrize(
    ("capability", "method"), [("logging", "logging/setLevel"), ("completions", "completion/complete")]
)
def test_a_capability_of_one_method_is_announced_where_the_policy_declares_it(
    revision: Revision, capability: str, method: str
):
    assert capability not in kept(revision)
    assert kept(revision, method)[capability] == {}


@pytest.mark.parametrize("revision", Revision)
@pytest.mark.parametrize("section", sorted(ALL))
def test_a_capability_of_a_section_is_announced_where_the_policy_declares_an_entry(revision: Revision, section: str):
    assert section not in kept(revision, sections=ALL - {section})


@pytest.mark.parametrize("section", sorted(ALL))
@pytest.mark.parametrize("offered", [{}, {"listChanged": True}, {"listChanged": False}])
def test_changes_of_lists_are_announced_where_the_sidecar_can_notify_of_them(section: str, offered: dict[str, Any]):
    def listed(revision: Revision, *methods: str, streams: bool = True) -> bool:
        result = {"capabilities": {section: offered}}
        found = announced(result, revision, Served(methods, ALL, streams))["capabilities"][section]
        return found.get("listChanged") is True

    assert listed(LEGACY)
    assert not listed(LEGACY, streams=False), "the backend has no GET streams"
    assert listed(MODERN, "subscriptions/listen", streams=False)
    assert not listed(MODERN), "the policy does not serve subscriptions"


def test_resources_can_be_subscribed_to_where_something_serves_it():
    assert kept(LEGACY)["resources"] == OFFERED["resources"]
    assert kept(MODERN)["resources"] == {}
    assert kept(MODERN, "subscriptions/listen")["resources"] == OFFERED["resources"]


def test_capabilities_that_no_method_serves_stay():
    assert kept(LEGACY, sections=frozenset()) == {"experimental": {"x": {}}}


@pytest.mark.parametrize("result", [{}, {"capabilities": {}}, {"capabilities": "all"}, {"capabilities": {"x": 1}}])
def test_a_result_that_announces_nothing_closed_is_left_alone(result: dict[str, Any]):
    assert announced(result, LEGACY, Served((), frozenset())) is result


def test_the_backends_result_is_not_changed():
    before = repr(OFFERED)
    kept(MODERN, sections=frozenset())
    assert repr(OFFERED) == before
