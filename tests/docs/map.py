"""Draw the packages of the sidecar and their imports from the code, as docs/packages.svg: `python -m tests.docs.map`.

Each row is a level of `tests/test_architecture.py`. An arrow that a path of other arrows implies is left out.
"""

from __future__ import annotations

import ast
import textwrap
from collections import defaultdict
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

from tests.test_architecture import FILES, LEVEL, LEVELS, TREES, VOCABULARY, imports, package

ROOT: Final = Path(__file__).parents[2]
PICTURE: Final = ROOT / "docs" / "packages.svg"

WIDTH, MARGIN, ROW, BOX_WIDTH, BOX_HEIGHT = 1000, 24, 138, 192, 82
_HIDDEN: Final = {"__main__"}
_VOCABULARY: Final = " · ".join(VOCABULARY)
_STYLE: Final = (
    "text{font-family:system-ui,'Segoe UI',Helvetica,Arial,'DejaVu Sans',sans-serif;fill:#16243b}"
    ".name{font-size:16px;font-weight:600}.about{font-size:11.5px;fill:#52627a}"
    ".box{fill:#fff;stroke:#9db2d1}.row{fill:#f4f7fc}.arrow{fill:none;stroke:#6f83a3;stroke-width:1.3}"
)


def node_of(name: str) -> str:
    """Return the box of a package: modules of the shared vocabulary have one together."""
    return _VOCABULARY if name in VOCABULARY else name


def edges() -> set[tuple[str, str]]:
    """Return every import between two boxes, as (importing, imported)."""
    found: set[tuple[str, str]] = set()
    for name, tree in TREES.items():
        own = package(name)
        for module, _ in imports(tree):
            used = package(module) if module.startswith("sidecar.") else ""
            if used in LEVEL and own in LEVEL and not {own, used} & _HIDDEN and node_of(used) != node_of(own):
                found.add((node_of(own), node_of(used)))
    return found


def essential(whole: set[tuple[str, str]]) -> list[tuple[str, str]]:
    """Drop edges that a longer path implies (the transitive reduction)."""
    below: defaultdict[str, set[str]] = defaultdict(set)
    for own, used in whole:
        below[own].add(used)

    def reached(node: str) -> set[str]:
        return below[node].union(*(reached(each) for each in below[node]))

    return sorted((own, used) for own, used in whole if not any(used in reached(each) for each in below[own]))


def about(name: str) -> list[str]:
    """Return the first sentence of a package's docstring, in at most three lines."""
    text = ast.get_docstring(TREES[f"sidecar/{name}/__init__.py"]) if f"sidecar/{name}/__init__.py" in FILES else None
    sentence = " ".join((text or "").split("\n\n")[0].split()).split(". ")[0].rstrip(".")
    return textwrap.wrap(sentence.replace("`", ""), 29, max_lines=3, placeholder=" …")


def rows() -> list[list[str]]:
    """Return the boxes of each level, the highest first."""
    named = [list(dict.fromkeys(node_of(name) for name in level if name not in _HIDDEN)) for level in reversed(LEVELS)]
    return [row for row in named if row]


def drawn() -> str:
    """Return the picture as SVG."""
    place: dict[str, tuple[float, float, float]] = {}  # center, top, width
    levels = rows()
    height = MARGIN + ROW * len(levels)
    for number, row in enumerate(levels):
        for column, name in enumerate(row):
            step = (WIDTH - 2 * MARGIN) / len(row)
            wide = step - MARGIN if name == _VOCABULARY else BOX_WIDTH
            place[name] = (MARGIN + step * (column + 0.5), MARGIN + number * ROW, wide)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img"'
            ' aria-label="Packages of the sidecar and their imports">',
            f"<style>{_STYLE}</style>",
            '<marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
            '<path d="M0 1 8 4 0 7z" fill="#6f83a3"/></marker>',
            f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
            *(
                f'<rect class="row" x="8" y="{MARGIN - 12 + number * ROW}" width="{WIDTH - 16}"'
                f' height="{BOX_HEIGHT + 24}" rx="10"/>'
                for number in range(len(levels))
            ),
            *_arrows(place),
            *(_box(name, *where) for name, where in place.items()),
            "</svg>",
            "",
        ]
    )


def _arrows(place: dict[str, tuple[float, float, float]]) -> list[str]:
    chosen = essential(edges())
    leaving: defaultdict[str, list[str]] = defaultdict(list)
    arriving: defaultdict[str, list[str]] = defaultdict(list)
    for own, used in chosen:
        leaving[own].append(used)
        arriving[used].append(own)

    def spread(ends: list[str], end: str, name: str) -> float:
        """Return the point of an arrow on the edge of a box, in the order of the other ends."""
        center, _, wide = place[name]
        order = sorted(ends, key=lambda each: place[each][0])
        return center + (order.index(end) - (len(order) - 1) / 2) * min(28.0, (wide - 30) / len(order))

    parts = []
    for own, used in chosen:
        x1, y1 = spread(leaving[own], used, own), place[own][1] + BOX_HEIGHT
        x2, y2 = spread(arriving[used], own, used), place[used][1]
        if used == _VOCABULARY:
            x2 = x1
        turn = y1 + ROW - BOX_HEIGHT  # arrows turn between two rows, and pass the boxes of further rows straight
        down = f"V{y2:.0f}" if turn < y2 else ""
        parts.append(
            f'<path class="arrow" d="M{x1:.0f} {y1:.0f}C{x1:.0f} {y1 + 32:.0f} {x2:.0f} {turn - 32:.0f}'
            f' {x2:.0f} {turn:.0f}{down}" marker-end="url(#tip)"/>'
        )
    return parts


def _box(name: str, center: float, top: float, wide: float) -> str:
    lines = about(name)
    first = top + (BOX_HEIGHT - 15 * len(lines)) / 2 + 6
    return "".join(
        [
            f'<rect class="box" x="{center - wide / 2:.0f}" y="{top:.0f}" width="{wide:.0f}" height="{BOX_HEIGHT}"'
            f' rx="8"/><text class="name" x="{center:.0f}" y="{first:.0f}" text-anchor="middle">{escape(name)}</text>',
            *(
                f'<text class="about" x="{center:.0f}" y="{first + 17 + 15 * number:.0f}" text-anchor="middle">'
                f"{escape(line)}</text>"
                for number, line in enumerate(lines)
            ),
        ]
    )


if __name__ == "__main__":
    PICTURE.write_text(drawn(), "utf-8")
