"""Entries of a scaffold's `resources` and `prompts`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from sidecar.policy.language.field_types import PROMPT_PATTERN, URI_PATTERN
from sidecar.policy.patterns import WILDCARD, Pattern, ties
from sidecar.protocol.uris import uris
from sidecar.workbench.scaffolding.inventory import Inventory
from sidecar.workbench.scaffolding.yaml_text import comment

MAX_PATTERNS: Final = 50
"""Patterns of resources; above it, resources of one folder share a pattern."""
MAX_PROMPTS: Final = 500
MAX_ENTRIES: Final = 1000
"""Entries of one list that are read."""

_URI: Final = re.compile(URI_PATTERN)
_PROMPT: Final = re.compile(PROMPT_PATTERN)


def resource_patterns(inventory: Inventory, findings: list[str]) -> list[str]:
    """Return patterns that match the listed resources and templates; report those that none can match."""
    patterns: dict[str, None] = {}
    for template in _texts(inventory.templates, "uriTemplate", findings):
        _add(WILDCARD.join(uris.template_literals(template)), template, patterns, findings)
    exact: dict[str, None] = {}
    globs = [Pattern.of(each) for each in patterns]
    for uri in _texts(inventory.resources, "uri", findings):
        if WILDCARD in uri:
            findings.append(f"resource '{_shown(uri)}' is left out: * in a pattern means any characters")
        elif not any(glob.matches(uri) for glob in globs):
            _add(uri, uri, exact, findings)
    if len(patterns) + len(exact) > MAX_PATTERNS:
        exact = dict.fromkeys(uri[: uri.rfind("/") + 1] + WILDCARD for uri in exact)
        findings.append("resources: one pattern stands for all resources of a folder; there are too many to name each")
    if len(patterns) + len(exact) > MAX_PATTERNS:
        findings.append(f"resources: only the first {MAX_PATTERNS} patterns are declared")
    found = list(dict.fromkeys((*patterns, *exact)))[:MAX_PATTERNS]
    for one, other in list(ties(found)):
        findings.append(f"resource pattern '{_shown(one)}' is left out: it matches URIs of '{_shown(other)}' as well")
        found.remove(one)
    return found


def prompt_names(inventory: Inventory, findings: list[str]) -> list[str]:
    """Return the names of prompts that a policy can declare; report the others."""
    names: dict[str, None] = {}
    for name in _texts(inventory.prompts, "name", findings):
        if not _PROMPT.fullmatch(name):
            findings.append(f"prompt '{_shown(name)}' is left out: a policy cannot name it")
        elif name in names:
            findings.append(f"prompt '{_shown(name)}' is listed twice")
        else:
            names[name] = None
    if len(names) > MAX_PROMPTS:
        findings.append(f"only the first {MAX_PROMPTS} prompts are declared")
    return list(names)[:MAX_PROMPTS]


def _add(pattern: str, listed: str, patterns: dict[str, None], findings: list[str]) -> None:
    if not _URI.fullmatch(pattern) or uris.fault_around(Pattern.of(pattern).literals) is not None:
        findings.append(f"resource '{_shown(listed)}' is left out: the sidecar accepts no such URI")
    else:
        patterns[pattern] = None


def _texts(entries: Sequence[Any], key: str, findings: list[str]) -> Iterator[str]:
    if len(entries) > MAX_ENTRIES:
        findings.append(f"of the entries with {key}, only the first {MAX_ENTRIES} are read")
    for entry in entries[:MAX_ENTRIES]:
        text = entry.get(key) if isinstance(entry, dict) else None
        if isinstance(text, str):
            yield text
        else:
            findings.append(f"an entry without {key} is left out")


def _shown(text: str) -> str:
    return comment(text[:80]) + ("..." if len(text) > 80 else "")
