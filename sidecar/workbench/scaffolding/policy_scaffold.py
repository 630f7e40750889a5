"""Policy file of a scaffold."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from sidecar.config.documents.merging import Document, parse
from sidecar.policy.language.compile import compile_policy
from sidecar.workbench.scaffolding.inventory import Inventory
from sidecar.workbench.scaffolding.other_entries import prompt_names, resource_patterns
from sidecar.workbench.scaffolding.tool_entries import ToolEntry, tool_entries
from sidecar.workbench.scaffolding.yaml_text import Noted, comment, document, plain
from sidecar.workbench.testing import run_tests

Json = dict[str, Any]

SCHEMA: Final = "../schemas/policy.schema.json"
"""Path of the policy's JSON Schema from the folder of the policy."""

_SCOPES: Final = {
    "read": "Read from {}.",
    "write": "Change things in {}.",
    "destroy": "Delete or overwrite things in {}.",
    "external": "Let {} reach systems outside of it.",
}
_OTHER: Final = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class PolicyScaffold:
    """Scaffolded policy.

    Attributes:
        name: name of the file without its end, and prefix of the scopes.
        text: the policy file.
        scopes: the declared scopes.
        findings: sentences about everything that was left out, guessed or looks wrong; escaped.
    """

    name: str
    text: str
    scopes: tuple[str, ...]
    findings: tuple[str, ...]


def policy_scaffold(inventory: Inventory) -> PolicyScaffold:
    """Build a policy for the tools, resources and prompts of a backend; it compiles, and its tests pass.

    Raises:
        DocumentError: the policy does not compile, which is a fault of this module.
    """
    name = slug(inventory.server)
    findings = [comment(sentence) for sentence in inventory.unread]
    tools = tool_entries(inventory.tools, name, findings)
    value = _policy(inventory, name, tools, findings)
    tests = [entry.test(name) for entry in tools]
    head = _head(inventory)
    failed = _failed({**value, "tests": tests})
    kept = [test for test in tests if test["name"] not in failed]
    findings += [f"no test shows that {comment(name)}" for name in sorted(failed)]
    if kept:
        why = "DECIDE: add the calls that must stay refused; `mcp-sidecar test` runs these"
        value["tests"] = Noted(kept, ("", why))
    text = document(value, head)
    compile_policy((parse(f"{name}.yaml", text),))
    scopes = value["scopes"].value if "scopes" in value else ()
    return PolicyScaffold(name, text, tuple(scopes), tuple(findings))


def slug(server: str) -> str:
    """Return a name for files and scopes, made of the server's name: `servers/Every Thing` is `every-thing`."""
    name = _OTHER.sub("-", server.rpartition("/")[2].lower()[:200]).strip("-")[:32].strip("-")
    return name if name and name[0].isalpha() else f"mcp-{name}".strip("-")


def _policy(inventory: Inventory, name: str, tools: list[ToolEntry], findings: list[str]) -> Json:
    resources, prompts = resource_patterns(inventory, findings), prompt_names(inventory, findings)
    used = {scope for entry in tools for scope in entry.scopes} | ({"read"} if resources or prompts else set())
    scopes = {f"{name}:{each}": about.format(name) for each, about in _SCOPES.items() if each in used}
    value: Json = {}
    if scopes:
        value["scopes"] = Noted(scopes, ("", "DECIDE: the issuer must be able to grant these scopes"))
        base = next(iter(scopes))
        value["base_scopes"] = Noted(
            [base], ("DECIDE: asked for by the first login; all, if the issuer adds none later",)
        )
    consent = "DECIDE: first_use admits every client with a valid token; required needs `mcp-sidecar consent grant`"
    value["consent"] = Noted("first_use", ("", consent))
    limits = {"requests": dict(minute=60, day=5000)}
    value["quotas"] = Noted(limits, ("", "DECIDE: calls of one account"))
    value["defaults"] = {"uses": {"requests": 1}}
    if tools:
        value["tools"] = Noted({each.name: each.entry for each in tools}, ("",))
    else:
        value["empty"] = Noted(True, ("", "DECIDE: the backend lists no tools that a policy can declare"))
    reading = {"scopes": [f"{name}:read"]}
    if resources:
        value["resources"] = Noted({each: reading for each in resources}, ("",))
    if prompts:
        value["prompts"] = Noted({each: reading for each in prompts}, ("",))
    if inventory.completions and (resources or prompts):
        value["methods"] = Noted({"completion/complete": reading}, ("",))
    return value


def _head(inventory: Inventory) -> tuple[str, ...]:
    server = " ".join(part for part in (inventory.server[:80], inventory.version[:40]) if part) or "a backend"
    return (
        f"yaml-language-server: $schema={SCHEMA}",
        f"Policy for {server}, made by `mcp-sidecar init` from its lists (MCP {inventory.protocol[:20] or 'unknown'}).",
        "A tool that is not here does not exist for clients. Lines with DECIDE are guesses: decide, and remove them.",
        "A pin is the tool's definition as you approved it: a tool that differs is refused (tool_changed).",
        "",
    )


def _failed(value: Json) -> frozenset[str]:
    """Return the names of the tests that fail."""
    policy = compile_policy((Document("", plain(value)),))
    return frozenset(outcome.name for outcome in run_tests(policy) if not outcome.passed)
