"""Tables of docs/scale.md: memory of a process and of a store, and what one busy account does to one primary."""

from __future__ import annotations

from bench.report.capacity import BUSY
from bench.report.figures import US, Figures

ONE_ACCOUNT = 10_000
"""Calls a second of one account in the example."""
IN_FLIGHT = 250
"""Calls of one account that a sidecar lets in at a time: the default of `limits.in_flight_per_account`."""
_MEBIBYTE, _KIBIBYTE = 1 << 20, 1 << 10


def of_account(run: Figures) -> str:
    """Return how many calls of one account one primary bears, and what the rest of its accounts wait."""
    needed, waiting = f"{ONE_ACCOUNT:,} a second need", f"{IN_FLIGHT} at once make others wait"
    lines = [f"| Calls of one account | One primary bears | {needed} | {waiting} |", "| --- | --- | --- | --- |"]
    for name in ("scoped", "priced"):
        cost = run.of(name, "c32", US, "store_us")
        if cost is None or not cost.median:
            continue
        bears, needs = BUSY * 1e6 / cost.median, ONE_ACCOUNT * cost.median / 1e6
        waits = IN_FLIGHT * cost.median / 1000
        lines.append(f"| {name} | {bears:,.0f} a second | {needs:.1f} cores | {waits:,.0f} ms for each sidecar |")
    return "\n".join(lines)


def of_memory(run: Figures) -> str:
    """Return what processes, streams and accounts take."""
    lines = ["| What | Memory |", "| --- | --- |"]
    if pss := run.document["peers"].get(US, {}).get("pss"):
        lines.append(f"| a sidecar that serves, without what is in flight | {pss / _MEBIBYTE:.0f} MiB |")
    for kind, title in (("get", "an idle GET stream"), ("listen", "an idle `subscriptions/listen`")):
        if each := run.further(f"idle-{kind}", "bytes_each"):
            lines.append(f"| {title}, in the sidecar | {each.median / _KIBIBYTE:.1f} KiB |")
    made, used = (run.further("growth-accounts", each) for each in ("store_bytes_each", "store_bytes_each_used"))
    if made and used:
        whole = made.median + used.median
        lines.append(f"| an account that has called, in the store | {whole / _KIBIBYTE:.1f} KiB |")
        lines.append(f"| a million of them | {whole * 1e6 / (_KIBIBYTE * _MEBIBYTE):.1f} GiB |")
    return "\n".join(lines)
