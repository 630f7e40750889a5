"""The parts of a page that are made: each stands between `<!-- bench: NAME -->` and `<!-- end -->`."""

from __future__ import annotations

import re
from collections.abc import Mapping

_MARKED = re.compile(r"(<!-- bench: ([a-z]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def replaced(page: str, texts: Mapping[str, str]) -> str:
    """Return a page with these parts; parts of other names stay."""

    def part(found: re.Match[str]) -> str:
        text = texts.get(found[2])
        return found[0] if text is None else f"{found[1]}{text}\n{found[4]}"

    return _MARKED.sub(part, page)
