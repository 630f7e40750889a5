"""Compiled `confirm` of a tool: the way its calls are confirmed, and the text that a person reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sidecar.approval import ConfirmBy
from sidecar.policy.confirming.escaped_values import quoted, shown_value
from sidecar.policy.confirming.message_template import MessageTemplate

MAX_LISTED: Final = 10
"""Most arguments of a call that are listed for a person, where the rule has no message."""


@dataclass(frozen=True, slots=True)
class Confirm:
    """Confirmation that a tool's calls need before they run.

    Attributes:
        by: whose confirmation counts.
        argument: argument that must be true; with a person or the page, what clients that cannot ask fall back to.
            None: no argument confirms.
        message: message for people and models when the argument is missing.
        inject: True when the backend does not have the argument: the sidecar adds it to listings and
            removes it before forwarding.
        rule: `file:line`.
        shadow: True when a missing confirmation is recorded and refuses nothing.
        title: the tool's name for people.
        template: text that a person reads; None lists the arguments.
        digest: digest of the tool's declaration; an approval is for this rule only.
        asks_person: True when a person confirms each call, in the client or on the account page.
    """

    argument: str | None
    message: str
    inject: bool
    rule: str
    shadow: bool = False
    by: ConfirmBy = ConfirmBy.ARGUMENT
    title: str = ""
    template: MessageTemplate | None = None
    digest: str = ""
    asks_person: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "asks_person", self.by is not ConfirmBy.ARGUMENT)

    def question(self, arguments: Mapping[str, Any]) -> str:
        """Return the text that a person reads about a call with these completed arguments, without its price."""
        if self.template is not None:
            return self.template.render(arguments)
        shown = [name for name, _ in zip(arguments, range(MAX_LISTED), strict=False)]
        if not shown:
            return f"Run {self.title}?"
        listed = ", ".join(f"{quoted(name)}: {shown_value(arguments[name])}" for name in shown)
        rest = len(arguments) - len(shown)
        return f"Run {self.title} with {listed}{f' and {rest} more arguments' if rest else ''}?"

    def is_argument_true(self, given: Mapping[str, Any]) -> bool:
        """Return True for a call with the argument set.

        Only JSON true: some servers accept 1 and "true" as well and would run an unconfirmed call.
        """
        return self.argument is not None and self.argument in given and given[self.argument] is True
