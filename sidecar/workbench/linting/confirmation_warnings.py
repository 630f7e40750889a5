"""Warnings about confirmations by a person that does not see what is confirmed. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from sidecar.config.documents.merging import Document
from sidecar.policy.rules import Tool
from sidecar.workbench.lint import Notice, is_closed


def confirmation_warnings(tool: Tool, document: Document) -> Iterator[Notice]:
    """Yield warnings about the confirmation of one tool."""
    confirm = tool.confirm
    if confirm is None or not confirm.asks_person or confirm.template is None:
        return
    shown, rule = confirm.template.names, document.rule(("tools", tool.name, "confirm", "message"))
    declared = [name for name in tool.arguments.declared if name != confirm.argument]
    if declared and not shown:
        says = f"a person confirms {tool.name} and sees none of its arguments"
        yield Notice(rule, f"{says}; show them in the message, as {{{declared[0]}}}")
    elif not is_closed(tool):
        says = f"a person confirms {tool.name}, whose message does not show arguments that are not declared"
        yield Notice(rule, f"{says}; add additionalProperties: false, or leave the message out: all are then listed")
