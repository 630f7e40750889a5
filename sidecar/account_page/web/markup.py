"""HTML from typed functions: every text and attribute is escaped, unless it is markup already. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import Final

Attribute = str | int | bool | None
"""Value of an attribute; True for one without a value, False and None leave it out."""

_EMPTY: Final = frozenset({"br", "hr", "img", "input", "link", "meta"})
_URLS: Final = frozenset({"action", "href", "src"})
# Schemes of links on the page. Others, such as `javascript:`, would run what another program wrote.
_SCHEMES: Final = ("https://", "http://", "vscode:", "cursor:", "/", "#", "?")
_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
_ELLIPSIS: Final = "…"


@dataclass(frozen=True, slots=True)
class Markup:
    """HTML; made by the functions of this module only."""

    text: str

    def __str__(self) -> str:
        return self.text


Node = Markup | str | int | None | Iterable["Node"]
"""Content of an element: markup, text that is escaped, nothing, or several of these."""


class UnsafeLinkError(ValueError):
    """Link with a scheme that the page never uses."""


def render(*nodes: Node) -> str:
    """Return nodes as HTML."""
    parts: list[str] = []
    _collect(nodes, parts)
    return "".join(parts)


def fragment(*nodes: Node) -> Markup:
    """Join nodes."""
    return Markup(render(*nodes))


def tag(name: str, /, *children: Node, **attributes: Attribute) -> Markup:
    """Return an element.

    Args:
        name: of the element.
        children: its content.
        attributes: names with `_` for `-`; one at the end is dropped, so that `class_` and `for_` can be written.

    Raises:
        UnsafeLinkError: a link's scheme is not one of the page's.
    """
    start = f"<{name}{''.join(_attribute(key, value) for key, value in attributes.items())}>"
    return Markup(start if name in _EMPTY else f"{start}{render(*children)}</{name}>")


def shown(text: str, limit: int = 200) -> str:
    """Return hostile text for people: cut, and without characters that are invisible or change its direction."""
    cut = text if len(text) <= limit else f"{text[: limit - 1]}{_ELLIPSIS}"
    return "".join(each if each.isprintable() else _REPLACEMENT for each in cut)


def _collect(node: Node, parts: list[str]) -> None:
    if isinstance(node, Markup):
        parts.append(node.text)
    elif isinstance(node, str | int):
        parts.append(escape(str(node)))
    elif node is not None:
        for each in node:
            _collect(each, parts)


def _attribute(key: str, value: Attribute) -> str:
    name = key.removesuffix("_").replace("_", "-")
    if value is None or value is False:
        return ""
    if value is True:
        return f" {name}"
    text = str(value)
    if name in _URLS and not (text.startswith(_SCHEMES) and not text.startswith("//")):
        raise UnsafeLinkError(f"{name} has another scheme than {', '.join(_SCHEMES)}")
    return f' {name}="{escape(text)}"'
