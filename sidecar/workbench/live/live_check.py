"""Findings of a comparison between a policy and its live backend. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

from sidecar.policy.drift.backend_drift import differs
from sidecar.policy.drift.pins import pin_of
from sidecar.policy.expressions.expressions import ELEMENT, Expression
from sidecar.policy.rules import Policy, Tool
from sidecar.workbench.live.schema_paths import missing_step, names_of_schema
from sidecar.workbench.scaffolding.inventory import Inventory
from sidecar.workbench.scaffolding.yaml_text import comment

MAX_UNDECLARED: Final = 100
"""Undeclared tools that are named; a backend may list thousands."""

_MAX_REQUIRED: Final = 50  # required arguments that are looked at
_MAX_CANDIDATES: Final = 500
_MAX_NAME: Final = 128  # characters of a name that may be meant
_PROBE: Final = "mcp-policy-sidecar probe"


@dataclass(frozen=True, slots=True)
class LiveFinding:
    """Difference between the policy and the backend.

    Attributes:
        kind: `tool_missing`, `tool_undeclared`, `tool_changed`, `tool_twice`, `argument_unknown`, `argument_required`,
            `argument_conflict`, `path_unknown` or `prompt_missing`.
        name: the tool or prompt; escaped.
        rule: `file:line`; empty where no rule is concerned.
        text: the difference, and what to do.
        fails: False for a notice: a policy may leave tools out on purpose.
        pin: the pin of the definition that the backend lists now, of a changed tool.
    """

    kind: str
    name: str
    rule: str
    text: str
    fails: bool = True
    pin: str | None = None

    def __str__(self) -> str:
        place = f"{self.rule}: " if self.rule else ""
        return f"{place}{self.name}: {self.text}"


def compare(policy: Policy, inventory: Inventory) -> tuple[LiveFinding, ...]:
    """Return all differences: tools in the order of the policy, then undeclared tools, then prompts."""
    listed: dict[str, list[Mapping[str, Any]]] = {}
    for each in inventory.tools:
        if isinstance(each, dict) and isinstance(each.get("name"), str):
            listed.setdefault(each["name"], []).append(each)
    found: list[LiveFinding] = []
    for name, tool in policy.tools.items():
        if tool.serve is None:
            found += _tool(tool, listed.get(name, []), listed.keys() - policy.tools.keys())
    found += _undeclared(policy, listed)
    prompts = {each.get("name") for each in inventory.prompts if isinstance(each, dict)}
    if not any(sentence.startswith("prompts/list") for sentence in inventory.unread):
        found += [
            LiveFinding("prompt_missing", name, prompt.rule, "the backend lists no prompt of this name")
            for name, prompt in policy.prompts.items()
            if name not in prompts
        ]
    return tuple(found)


def _undeclared(policy: Policy, listed: Mapping[str, Any]) -> Iterator[LiveFinding]:
    names = sorted(listed.keys() - policy.tools.keys())
    says = "the backend lists it and the policy does not declare it, so clients cannot see it"
    for name in names[:MAX_UNDECLARED]:
        yield LiveFinding("tool_undeclared", comment(name[:128]), "", says, fails=False)
    if len(names) > MAX_UNDECLARED:
        more = f"{len(names) - MAX_UNDECLARED} more undeclared tools"
        yield LiveFinding("tool_undeclared", more, "", says, fails=False)


def _tool(tool: Tool, definitions: list[Mapping[str, Any]], undeclared: Set[str]) -> Iterator[LiveFinding]:
    if not definitions:
        text = f"the backend lists no tool of this name{_meant(tool.name, undeclared)}"
        yield LiveFinding("tool_missing", tool.name, tool.rule, text)
        return
    if len(definitions) > 1:
        yield LiveFinding("tool_twice", tool.name, tool.rule, f"the backend lists it {len(definitions)} times")
    for definition in definitions[:2]:
        if differs(tool, definition):
            pin = pin_of(definition)
            text = f"name, description or schemas differ from the pin; read them, then write pin: {pin}"
            yield LiveFinding("tool_changed", tool.name, tool.rule, text, pin=pin)
    definition = definitions[0]
    yield from _arguments(tool, definition.get("inputSchema"))
    yield from _expressions(tool, definition)


def _arguments(tool: Tool, schema: object) -> Iterator[LiveFinding]:
    if not isinstance(schema, dict):
        return
    own = names_of_schema(schema)
    listed = f"the backend's schema has {', '.join(sorted(map(comment, own))[:20]) or 'no arguments'}"
    for name in tool.arguments.declared:
        if missing_step(schema, (name,)) is not None:
            text = f"the argument {name!r} is declared, and {listed}{_meant(name, own)}"
            yield LiveFinding("argument_unknown", tool.name, tool.arguments_rule, text)
    confirm = tool.confirm
    if confirm is not None and confirm.inject and confirm.argument in own:
        text = (
            f"the confirmation {confirm.argument!r} is injected, and the backend's schema has it; choose another name"
        )
        yield LiveFinding("argument_conflict", tool.name, confirm.rule, text)
    required = schema.get("required")
    for name in required[:_MAX_REQUIRED] if isinstance(required, list) and _closed(tool) else ():
        if isinstance(name, str) and name not in tool.arguments.declared:
            text = f"the backend requires the argument {comment(name[:128])!r}, which the policy refuses"
            yield LiveFinding("argument_required", tool.name, tool.arguments_rule, text)


def _meant(name: str, known: Set[str]) -> str:
    """Return a question for the known name that is most like a name; nothing where none is."""
    candidates = [each for each in sorted(known)[:_MAX_CANDIDATES] if len(each) <= _MAX_NAME]
    found = get_close_matches(name, candidates, 1)
    return f"; did you mean {comment(found[0])!r}?" if found else ""


def _closed(tool: Tool) -> bool:
    """Return True when the policy refuses arguments that it does not declare."""
    validator = tool.arguments.validator
    errors = () if validator is None else validator.iter_errors({_PROBE: None})
    return any(error.kind.name in ("additionalProperties", "unevaluatedProperties") for error in errors)


def _expressions(tool: Tool, definition: Mapping[str, Any]) -> Iterator[LiveFinding]:
    expressions = [(part, each.rule) for each in tool.prices.amounts for part in each.expressions]
    if tool.prices.rows is not None:
        expressions.append((tool.prices.rows, tool.rule))
    for expression, rule in expressions:
        yield from _expression(tool, expression, rule, definition)


def _expression(tool: Tool, expression: Expression, rule: str, definition: Mapping[str, Any]) -> Iterator[LiveFinding]:
    said: set[str] = set()
    for path in sorted(expression.reads, key=str):
        schema, below, which = _read(path, definition)
        index = None if schema is None else missing_step(schema, below)
        # An argument's own name is reported once, where it is declared.
        if index is None or (which == "input" and index == 0):
            continue
        absent = _shown(below[: index + 1])
        if absent in said:
            continue
        said.add(absent)
        text = f"`{expression.text}` reads {_shown(path)}, and the backend's {which} schema has no {absent}"
        yield LiveFinding("path_unknown", tool.name, rule, text)


def _read(
    path: tuple[str | int, ...], definition: Mapping[str, Any]
) -> tuple[Mapping[str, Any] | None, tuple[str | int, ...], str]:
    """Return the schema that a path is read from, the path below it, and the schema's name."""
    if path[0] == "arguments":
        schema, below, which = definition.get("inputSchema"), path[1:], "input"
    elif path[0] == "data":
        schema, below, which = definition.get("outputSchema"), path[1:], "output"
    elif path[:2] == ("result", "structuredContent"):
        schema, below, which = definition.get("outputSchema"), path[2:], "output"
    else:
        return None, (), ""
    return schema if isinstance(schema, dict) else None, below, which


def _shown(path: tuple[str | int, ...]) -> str:
    text = ""
    for step in path:
        text += "[]" if step == ELEMENT else f".{step}" if text else str(step)
    return text
