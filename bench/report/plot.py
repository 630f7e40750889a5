"""The picture of docs/performance.md: what a call costs each proxy, as bars with the spread of the rounds."""

from __future__ import annotations

from dataclasses import dataclass
from xml.sax.saxutils import escape

from bench.peers import PEERS
from bench.report.figures import TEXTBOOK, US, Figures, Spread

WIDTH, LEFT, RIGHT, ROW, TOP, FOOT = 900, 260, 120, 34, 62, 40
LONGEST = 5.0
"""A bar longer than this many times the textbook proxy's would leave no room for the others."""

_STYLE = (
    "text{font-family:system-ui,'Segoe UI',Helvetica,Arial,'DejaVu Sans',sans-serif;fill:#16243b;font-size:13px}"
    ".head{font-size:16px;font-weight:600}.about{font-size:12px;fill:#52627a}"
    ".nothing{fill:#d3dbe7}.some{fill:#93a5c1}.us{fill:#2f6fd0}.store{fill:#9cc0f5}"
    ".spread{stroke:#16243b;stroke-width:1.2}"
)
_LEGEND = (
    ("nothing", "checks nothing"),
    ("some", "checks token and tool"),
    ("us", "this sidecar"),
    ("store", "its store"),
)


@dataclass(frozen=True, slots=True)
class Bar:
    """One row: what a call costs, and what it costs in the store."""

    title: str
    kind: str
    cost: Spread
    store: float = 0.0


def bars(run: Figures) -> list[Bar]:
    """Return the rows, the cheapest first."""
    found = []
    textbook = run.of("scoped", "c32", TEXTBOOK, "cpu_us")
    for name, peer in PEERS.items():
        cost = run.of("scoped", "c32", name, "cpu_us")
        fits = cost and cost.median and (textbook is None or cost.median <= LONGEST * textbook.median)
        if cost and fits and name != US:
            found.append(Bar(peer.short, "nothing" if peer.checks == "nothing" else "some", cost))
    for workload in ("scoped", "priced"):
        cost, store = (run.of(workload, "c32", US, figure) for figure in ("cpu_us", "store_us"))
        if cost and store:
            found.append(Bar(f"{PEERS[US].short}, {workload}", "us", cost, store.median))
    return sorted(found, key=lambda each: each.cost.median)


def drawn(run: Figures) -> str:
    """Return the picture as SVG."""
    rows = bars(run)
    longest = max((max(each.cost.highest, each.cost.median + each.store) for each in rows), default=1.0)
    scale = (WIDTH - LEFT - RIGHT) / longest
    height = TOP + ROW * len(rows) + FOOT
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img"'
            ' aria-label="CPU microseconds per call of each proxy">',
            f"<style>{_STYLE}</style>",
            f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
            '<text class="head" x="16" y="26">CPU per tools/call, microseconds</text>',
            '<text class="about" x="16" y="46">median of the rounds; lines go from the lowest to the highest</text>',
            *(_row(each, TOP + ROW * number, scale) for number, each in enumerate(rows)),
            *(_key(number, height - 14) for number in range(len(_LEGEND))),
            "</svg>",
            "",
        ]
    )


def _row(bar: Bar, top: float, scale: float) -> str:
    wide, store, thick = bar.cost.median * scale, bar.store * scale, ROW - 10
    middle = top + thick / 2
    low, high = (LEFT + value * scale for value in (bar.cost.lowest, bar.cost.highest))
    end = max(LEFT + wide + store, high) + 8
    label = f"{bar.cost.median:,.0f}" + (f" + {bar.store:,.0f}" if bar.store else "")
    second = f'<rect class="store" x="{LEFT + wide:.1f}" y="{top}" width="{store:.1f}" height="{thick}"/>'
    return "".join(
        [
            f'<text x="{LEFT - 10}" y="{middle + 5:.0f}" text-anchor="end">{escape(bar.title)}</text>',
            f'<rect class="{bar.kind}" x="{LEFT}" y="{top}" width="{wide:.1f}" height="{thick}"/>',
            second if bar.store else "",
            f'<path class="spread" d="M{low:.1f} {middle:.0f}H{high:.1f}"/>',
            f'<text x="{end:.0f}" y="{middle + 5:.0f}">{label}</text>',
        ]
    )


def _key(number: int, bottom: float) -> str:
    kind, title = _LEGEND[number]
    left = LEFT + 165 * number
    return (
        f'<rect class="{kind}" x="{left}" y="{bottom - 10:.0f}" width="12" height="12"/>'
        f'<text class="about" x="{left + 18}" y="{bottom:.0f}">{title}</text>'
    )
