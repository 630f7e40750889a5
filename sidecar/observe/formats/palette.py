"""Colours of a terminal: only where a person looks, and never against NO_COLOR."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from sidecar.vocabulary import TextEnum

_RESET: Final = "\x1b[0m"


class Style(TextEnum):
    """Style of a word; the value is its code for a terminal (ECMA-48, SGR)."""

    GOOD = "32"
    CAUTION = "33"
    BAD = "31"
    TITLE = "1"
    FAINT = "2"


class Palette:
    """Painter of words.

    Args:
        colour: False leaves every word as it is.
    """

    def __init__(self, colour: bool) -> None:
        self.colour = colour

    def paint(self, text: str, style: Style | None) -> str:
        """Return the text in a style; None, or a palette without colours, leaves it."""
        return f"\x1b[{style.value}m{text}{_RESET}" if self.colour and style is not None else text


def is_terminal(fd: int) -> bool:
    """Return True for the descriptor of a terminal."""
    try:
        return os.isatty(fd)
    except OSError:
        return False


def palette_for(fd: int, environ: Mapping[str, str] | None = None) -> Palette:
    """Return the palette of an output: colours on a terminal that has them, unless NO_COLOR is set (no-color.org).

    Args:
        fd: the output's descriptor.
        environ: the environment; None: this process's.
    """
    known = os.environ if environ is None else environ
    return Palette(is_terminal(fd) and not known.get("NO_COLOR") and known.get("TERM") != "dumb")
