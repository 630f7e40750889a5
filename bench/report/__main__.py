"""Print the tables of a run, or bring a page and its picture up to date.

    python -m bench.report RESULTS.json [--write docs/performance.md]

The picture of a page that has one is next to it, with its name.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from bench.report import plot
from bench.report.figures import Figures
from bench.report.page import replaced
from bench.report.tables import TABLES, printed


def main() -> None:
    """Print or write."""
    parser = argparse.ArgumentParser(prog="python -m bench.report", description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("--write", type=Path, metavar="PAGE")
    given = parser.parse_args()
    document = json.loads(given.results.read_text())
    if given.write is None:
        print(printed(document))
        return
    run = Figures(document)
    texts = {name: make(run) for name, make in TABLES.items()}
    given.write.write_text(replaced(given.write.read_text("utf-8"), texts), "utf-8")
    picture = given.write.with_suffix(".svg")
    if picture.exists():
        picture.write_text(plot.drawn(run), "utf-8")


if __name__ == "__main__":
    main()
