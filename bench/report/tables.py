"""The tables of a run, for the terminal, docs/performance.md and docs/scale.md."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from bench.peers import PEERS
from bench.report import capacity, sizing, targets
from bench.report.figures import TEXTBOOK, US, Figures, Spread
from bench.workloads import MODES, WORKLOADS

MEBIBYTE = 1 << 20


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: int = 0) -> str:
    """Return a Markdown table; the last `numbers` columns are aligned to the right."""
    rules = ["---"] * (len(heads) - numbers) + ["---:"] * numbers
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, rules, *rows))


def _text(found: Spread | None, digits: int = 0) -> str:
    return found.text(digits) if found else ""


def _median(found: Spread | None, digits: int = 0) -> str:
    return f"{found.median:,.{digits}f}" if found else ""


def about(run: Figures) -> str:
    """Say when, where and how the run was made."""
    machine = run.document["machine"]
    versions = dict.fromkeys(peer["version"] for peer in run.document["peers"].values() if peer["version"])
    return (
        f"Made {run.document['made'][:10]} on {machine['cores']} cores of {machine['cpu']}, Python {machine['python']},"
        f" Linux {machine['kernel'].split('-')[0]}; {run.document['rounds']} interleaved rounds of"
        f" {run.document['seconds']:g} s. {', '.join(versions)}.{_busy(machine['load_before'])}"
    )


def _busy(load: float) -> str:
    """Warn of figures from a machine that did something else, too."""
    return f" The machine was busy with something else (load {load:g}): latencies are too long." if load > 1 else ""


def of_targets(run: Figures) -> str:
    """Compare what was measured with what was aimed at."""
    return table(("What", "Target", "Measured", ""), targets.rows(run))


def of_peers(run: Figures) -> str:
    """List the peers by what a `tools/call` with a scope costs them."""
    measured: list[tuple[float, tuple[str, ...]]] = []
    for name, peer in PEERS.items():
        cost = run.of("scoped", "c32", name, "cpu_us")
        if cost is None or not cost.median:
            continue
        memory = int(run.document["peers"][name]["pss"]) / MEBIBYTE
        cells = (
            peer.title,
            cost.text(),
            _median(run.of("scoped", "c32", name, "store_us")) if name == US else "",
            _median(run.ratio("scoped", name), 2),
            _median(run.of("scoped", "c32", name, "rate")),
            _median(run.added("scoped", name, "p50_ms"), 2),
            _median(run.of("scoped", "c32", name, "p99_ms"), 1),
            f"{memory:,.0f}",
            peer.checks,
        )
        measured.append((cost.median, cells))
    if textbook := run.of("scoped", "c32", TEXTBOOK, "cpu_us"):
        measured += _elsewhere(textbook.median)
    heads = ("Proxy", "CPU µs / call", "store", "× textbook", "calls/s", "added ms", "p99 ms", "MiB", "Checks")
    return table(heads, (cells for _, cells in sorted(measured)))


def _elsewhere(textbook: float) -> Iterable[tuple[float, tuple[str, ...]]]:
    """Place proxies of another run by their ratio there."""
    for title, (cost, checks) in targets.ELSEWHERE.items():
        ratio = cost / targets.TEXTBOOK_ELSEWHERE
        yield ratio * textbook, (f"{title} ¹", "", "", f"{ratio:.2f}", "", "", "", "", checks)


_OVER = {"c32": "", "c8": ", 8 connections", "c1": ", one connection"}


def of_calls(run: Figures) -> str:
    """List what each kind of call costs the sidecar, at 32 connections and at one."""
    rows = []
    for name, workload in WORKLOADS.items():
        for mode in [each for each in workload.modes if MODES[each].rate is None]:
            cost = run.of(name, mode, US, "cpu_us")
            if cost is None:
                continue
            mine, theirs = (name, mode, US), (name, mode, TEXTBOOK)
            ratio = run.compared(mine, theirs, "cpu_us", lambda mine, theirs: mine / theirs)
            rows.append(
                (
                    f"{workload.about}{_OVER[mode]}",
                    cost.text(),
                    _median(run.of(name, mode, US, "store_us")),
                    _text(ratio, 2),
                    _median(run.of(name, mode, US, "rate")),
                    _median(run.of(name, mode, US, "p50_ms"), 2),
                    _median(run.of(name, mode, US, "p99_ms"), 2),
                )
            )
    return table(("Call", "CPU µs", "store", "× textbook", "calls/s", "p50 ms", "p99 ms"), rows)


def of_growth(run: Figures) -> str:
    """List what takes memory, and what does not."""
    lines, line = _lines(run)
    bytes_text, micro = "{:,.0f} bytes".format, "{:,.0f} µs".format
    accounts = "growth-accounts"
    line("accounts in the store", accounts, "accounts", lambda value: f"{value:,.0f}")
    line("an account with consent, plan and credits, in the store", accounts, "store_bytes_each", bytes_text)
    line("of that, its journal", accounts, "journal_bytes_each", bytes_text)
    line("more once it has called", accounts, "store_bytes_each_used", bytes_text)
    line("the sidecar's growth while 1,000 known accounts call again", accounts, "sidecar_bytes_again", bytes_text)
    line("CPU of a call, sidecar and store, before they were there", accounts, "cost_before_us", micro)
    line("CPU of a call, sidecar and store, among them", accounts, "cost_after_us", micro)
    for kind, title in (("get", "GET stream"), ("listen", "`subscriptions/listen`")):
        name = f"idle-{kind}"
        line(f"idle {title}: streams open", name, "streams", lambda value: f"{value:,.0f}")
        line(f"idle {title}: each", name, "bytes_each", bytes_text)
        line(f"idle {title}: CPU of all", name, "cpu_per_second", lambda value: f"{value:.1%} of a core")
        line(f"p50 of a call before {title}s", name, "alone_p50_ms", lambda value: f"{value:.2f} ms")
        line(f"p50 of a call among {title}s", name, "among_p50_ms", lambda value: f"{value:.2f} ms")
    return table(("What", "Measured"), lines)


def of_workers(run: Figures) -> str:
    """Compare two workers with one process."""
    workers = "workers"
    lines, line = _lines(run)
    micro = "{:,.0f} µs".format
    line("CPU of a call, one process", workers, "busiest_1_us", micro)
    line("CPU of a call, the busier one of two workers", workers, "busiest_2_us", micro)
    line(
        "calls that two workers serve by the CPU of the busier one, against one", workers, "speedup", "{:.2f} ×".format
    )
    line("calls a second, one process", workers, "calls_1", "{:,.0f}".format)
    line("calls a second, two workers and the load on two cores", workers, "calls_2", "{:,.0f}".format)
    return table(("What", "Measured"), lines)


def _lines(run: Figures) -> tuple[list[tuple[str, str]], Callable[[str, str, str, Callable[[float], str]], None]]:
    """Return the rows of a table, and a function that adds one for a figure that was measured."""
    lines: list[tuple[str, str]] = []

    def line(what: str, name: str, figure: str, shown: Callable[[float], str]) -> None:
        found = run.further(name, figure)
        if found is not None:
            lines.append((what, shown(found.median)))

    return lines, line


TABLES: Mapping[str, Callable[[Figures], str]] = {
    "run": about,
    "targets": of_targets,
    "peers": of_peers,
    "calls": of_calls,
    "growth": of_growth,
    "workers": of_workers,
    "capacity": capacity.table_of,
    "memory": sizing.of_memory,
    "account": sizing.of_account,
}


_EMPTY = 2  # lines: heads and rule


def printed(document: Mapping[str, Any]) -> str:
    """Return all tables for the terminal."""
    run = Figures(document)
    skipped = [f"left out: {name}: {why}" for name, why in document["skipped"].items()]
    tables = [aligned(text) for text in (make(run) for make in TABLES.values()) if len(text.splitlines()) != _EMPTY]
    return "\n\n".join([*tables, *skipped])


def aligned(text: str) -> str:
    """Pad the cells of a Markdown table so that it can be read as it is."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    if len(lines) < 2 or not text.startswith("|"):
        return text
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
