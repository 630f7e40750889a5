"""Entries of a scaffold's `tools`: scopes, arguments, confirmation, pin and starter test of each tool."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sidecar.config.documents.merging import Document, DocumentError
from sidecar.policy.drift.pins import pin_of
from sidecar.policy.language.argument_schemas import argument_rules
from sidecar.policy.language.compile import compile_policy
from sidecar.policy.language.field_types import TOOL_PATTERN
from sidecar.protocol.strict import folding
from sidecar.workbench.scaffolding.levels import Guess, Level, guess
from sidecar.workbench.scaffolding.samples import NoSampleError, sample
from sidecar.workbench.scaffolding.schema_adoption import Adopted, adopt, count_values
from sidecar.workbench.scaffolding.yaml_text import Noted, comment

Json = dict[str, Any]

MAX_LISTED: Final = 5000
"""Entries of `tools/list` that are read."""
MAX_TOOLS: Final = 500
"""Tools of one scaffold; the rest is reported."""
MAX_VALUES: Final = 20_000
"""Values of all entries: reading ten times as many is an error, and takes a minute."""

_NAME: Final = re.compile(TOOL_PATTERN)
_MAX_NOTES: Final = 5  # comments on the schema of one tool
_CONFIRMS: Final = re.compile(r"(confirm(ed|ation)?|approved?|acknowledged?)(_.*|[A-Z].*)?")
_INJECTED: Final = ("confirm", "confirm_call", "confirmed_by_user", "confirm_this_call", "sidecar_confirm")


@dataclass(frozen=True, slots=True)
class ToolEntry:
    """Scaffolded entry of one tool.

    Attributes:
        scopes: the guessed scopes, of `read`, `write`, `destroy` and `external`.
        entry: the value of the entry.
        arguments: sample arguments that the entry accepts; None without any.
        confirm: the argument that confirms the call.
    """

    name: str
    scopes: tuple[str, ...]
    entry: Noted
    arguments: Json | None
    confirm: str | None

    def test(self, prefix: str) -> Json:
        """Return a starter test: the call that the entry allows, or the one that it refuses first.

        Args:
            prefix: of the scopes.
        """
        scopes = [f"{prefix}:{each}" for each in self.scopes]
        call: Json = {"tool": self.name}
        if self.arguments:
            call["arguments"] = self.arguments
        if self.arguments is None:
            name, scopes, expect = "needs its scopes", [], "insufficient_scope"
        elif self.confirm is not None:
            name, expect = "needs a confirmation", "confirmation_required"
        else:
            name, expect = "is allowed with its scopes", "allow"
        return {"name": f"{self.name} {name}", "caller": {"scopes": scopes}, "call": call, "expect": expect}


def tool_entries(definitions: Sequence[Any], prefix: str, findings: list[str]) -> list[ToolEntry]:
    """Build the entries of all tools that can be declared.

    Args:
        definitions: the entries of `tools/list`, as sent.
        prefix: of the scopes.
        findings: receives a sentence for everything that was left out or that looks wrong.
    """
    entries: list[ToolEntry] = []
    left = MAX_VALUES
    if len(definitions) > MAX_LISTED:
        findings.append(f"of {len(definitions)} tools, only the first {MAX_LISTED} are read")
    for name, definition in _declarable(definitions[:MAX_LISTED], findings).items():
        entry = _entry(name, definition, prefix)
        left -= 0 if entry is None else count_values([entry.entry.value, entry.arguments], left)
        if len(entries) == MAX_TOOLS or left < 0:
            findings.append(f"only the first {len(entries)} tools are declared: the file would be too large")
            break
        if entry is None:
            findings.append(f"tool {_shown(name)} is left out: the policy does not accept an entry for it")
        else:
            entries.append(entry)
            findings += [f"tool {_shown(name)}: {comment(note)}" for note in entry.entry.comments]
    return entries


def _declarable(definitions: Iterable[Any], findings: list[str]) -> Mapping[str, Json]:
    """Return the definitions that a policy can name, by name; report all others."""
    found: dict[str, Json] = {}
    pins: dict[str, str] = {}
    twice: set[str] = set()
    folded: dict[str, str] = {}
    for definition in definitions:
        name = definition.get("name") if isinstance(definition, dict) else None
        if not isinstance(name, str):
            findings.append("an entry of tools/list without a name is left out")
        elif not _NAME.fullmatch(name):
            findings.append(
                f"tool {_shown(name)} is left out: a policy can only name tools of letters, digits and _ . / -, "
                "at most 128 of them"
            )
        elif name in found:
            if name not in pins:
                pins[name] = pin_of(found[name])
            if pins[name] != pin_of(definition):
                twice.add(name)
            findings.append(f"tool {_shown(name)} is listed twice")
        else:
            found[name] = definition
            other = folded.setdefault(folding.fold(name), name)
            if other != name:
                findings.append(f"tools {_shown(other)} and {_shown(name)} differ in upper and lower case only")
    for name in twice:
        findings.append(f"tool {_shown(name)} is left out: it is listed with two definitions")
        del found[name]
    return found


def _entry(name: str, definition: Json, prefix: str) -> ToolEntry | None:
    """Build an entry, without the arguments where the policy does not accept them; None for no entry at all."""
    guessed = guess(name, definition.get("annotations"))
    adopted = adopt(definition.get("inputSchema", {"type": "object"}))
    for each in (adopted, Adopted(None, ("its input schema is not accepted by the policy",))):
        entry = _built(name, definition, guessed, each, prefix)
        if _accepted(entry, prefix):
            return entry
    return None


def _built(name: str, definition: Json, guessed: Guess, adopted: Adopted, prefix: str) -> ToolEntry:
    scopes = (guessed.level.value, "external") if guessed.external else (guessed.level.value,)
    comments = [] if guessed.doubt is None else [f"DECIDE: {guessed.doubt}"]
    value: Json = {"scopes": [f"{prefix}:{each}" for each in scopes]}
    if adopted.schema is not None:
        value["arguments"] = adopted.schema
        comments += [f"DECIDE: {note}" for note in adopted.notes[:_MAX_NOTES]]
        if len(adopted.notes) > _MAX_NOTES:
            comments.append(f"DECIDE: {len(adopted.notes) - _MAX_NOTES} more parts of its input schema")
    else:
        comments += [f"DECIDE: any arguments pass, because {note}" for note in adopted.notes]
    confirm = None
    if guessed.level is Level.DESTROY:
        value["confirm"] = _confirm(definition, adopted.schema)
        confirm = value["confirm"]["argument"]
    value["pin"] = pin_of(definition)
    return ToolEntry(name, scopes, Noted(value, tuple(comments)), _sample(adopted.schema, confirm), confirm)


def _confirm(definition: Json, adopted: Json | None) -> Json:
    """Return the confirmation: a boolean of the tool's own that means one, or an injected argument."""
    schema = definition.get("inputSchema")
    own = schema.get("properties") if isinstance(schema, dict) else None
    names = set(own) if isinstance(own, dict) else set()
    for name, part in (adopted or {}).get("properties", {}).items():
        if isinstance(part, dict) and part.get("type") == "boolean" and _CONFIRMS.fullmatch(name):
            return {"argument": name}
    folded = {folding.fold(name) for name in names if folding.fault(name) is None}
    numbered = (f"confirm_{number}" for number in range(1, len(folded) + 2))
    argument = next(each for each in (*_INJECTED, *numbered) if each not in folded)
    return {"argument": argument, "inject": True}


def _sample(schema: Json | None, confirm: str | None) -> Json | None:
    if schema is None:
        return {}
    try:
        arguments: Json = sample({"type": "object", **schema}, schema)
    except NoSampleError:
        return None
    rules = argument_rules(Document("", {}), (), schema, [])
    if confirm in arguments:
        arguments[confirm] = False
    return arguments if rules.confusable(arguments) is None and rules.invalid(arguments) is None else None


def _accepted(entry: ToolEntry, prefix: str) -> bool:
    """Return True when the policy's compiler accepts an entry on its own."""
    value = {
        "scopes": {f"{prefix}:{each}": each for each in entry.scopes},
        "tools": {entry.name: entry.entry.value},
    }
    try:
        compile_policy((Document("", value),))
    except DocumentError:
        return False
    return True


def _shown(name: str) -> str:
    """Return a name for a message: escaped, in quotes, and cut."""
    text = comment(name[:80])
    return f"'{text}...'" if len(name) > 80 else f"'{text}'"
