"""Everything that a backend lists, as sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Inventory:
    """Lists of one backend; its texts and names are not checked.

    Attributes:
        server: name of the server; empty when it gives none.
        version: version of the server.
        protocol: the MCP revision that it speaks.
        tools: entries of `tools/list`; not all of them need be objects.
        resources: entries of `resources/list`.
        templates: entries of `resources/templates/list`.
        prompts: entries of `prompts/list`.
        completions: True when it completes arguments of prompts and templates.
        unread: for each list that could not be read, a sentence.
    """

    server: str
    version: str = ""
    protocol: str = ""
    tools: tuple[Any, ...] = ()
    resources: tuple[Any, ...] = ()
    templates: tuple[Any, ...] = ()
    prompts: tuple[Any, ...] = ()
    completions: bool = False
    unread: tuple[str, ...] = ()
