"""Template of the text that a person reads before a call: `Reveal {contact_ids} to {reason}`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sidecar.policy.confirming.escaped_values import shown_value

MAX_TEMPLATE: Final = 500
"""Most characters of a template."""
MAX_NAMES: Final = 20
"""Most arguments that a template shows."""
NOT_GIVEN: Final = "(not given)"

_PARTS: Final = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]|[^{}]+")


class TemplateError(ValueError):
    """Template that cannot be read; the message says why."""


@dataclass(frozen=True, slots=True)
class MessageTemplate:
    """Text with the names of arguments.

    Attributes:
        parts: literal texts, and in between names of arguments: the first, third, ... part is literal.
    """

    parts: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> MessageTemplate:
        """Read a template; `{{` and `}}` are braces.

        Raises:
            TemplateError: a brace is not closed or not opened, or the template is too long.
        """
        if len(text) > MAX_TEMPLATE:
            raise TemplateError(f"has {len(text)} characters; at most {MAX_TEMPLATE} are accepted")
        parts = [""]
        for found in _PARTS.finditer(text):
            word, name = found[0], found[1]
            if name is not None:
                if not name:
                    raise TemplateError("has {} without the name of an argument")
                parts += [name, ""]
            elif word in ("{", "}"):
                raise TemplateError(f"has a {word} that belongs to no {{argument}}; a brace itself is written twice")
            else:
                parts[-1] += {"{{": "{", "}}": "}"}.get(word, word)
        if len(parts) > 2 * MAX_NAMES + 1:
            raise TemplateError(f"shows more than {MAX_NAMES} arguments")
        return cls(tuple(parts))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the arguments that it shows."""
        return self.parts[1::2]

    def render(self, arguments: Mapping[str, Any]) -> str:
        """Return the text with the values of a call, each escaped and cut."""
        return "".join(
            (shown_value(arguments[part]) if part in arguments else NOT_GIVEN) if place % 2 else part
            for place, part in enumerate(self.parts)
        )
