"""Log lines and metrics of the whole story."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families

from demo.narration import Step, Story, expect
from demo.processes import until

_SHOWN: Final = {
    "requests": ("status",),
    "refusals": ("gate", "code"),
    "settlements": ("action",),
    "credits_reserved": ("pool",),
    "credits_spent": ("pool",),
    "credits_released": ("pool",),
}
"""Counters that are shown, with the labels by which they are added up."""

Totals = Mapping[str, float]


def calls_of(story: Story) -> list[dict[str, Any]]:
    """Return the log lines of calls, of all sidecars that have run."""
    lines = map(json.loads, story.stage.sidecar.lines())
    return [line for line in lines if line["event"] == "call"]


async def scrape(story: Story) -> str:
    """Return the metrics, once they and the log include every answered request.

    Raises:
        ConditionNotMetError: log and metrics do not agree in time.
    """

    async def agreed() -> str | None:
        text = await story.stage.metrics()
        requests = _sum(totals([*story.scrapes, text]), "requests")
        return text if requests == len(calls_of(story)) else None

    return await until("each request has one line and is counted once", agreed)


def totals(scrapes: Iterable[str]) -> Totals:
    """Return the story's counters, added up over processes and labels as a query would."""
    found: dict[str, float] = defaultdict(float)
    for text in scrapes:
        for family in text_string_to_metric_families(text):
            shown = _SHOWN.get(family.name.removeprefix("mcp_sidecar_"), ())
            for sample in family.samples if shown else ():
                labels = ",".join(f'{name}="{sample.labels[name]}"' for name in shown)
                found[f"{sample.name}{{{labels}}}"] += sample.value
    return found


def _sum(found: Totals, name: str) -> float:
    return sum(value for key, value in found.items() if key.startswith(f"mcp_sidecar_{name}_total{{"))


async def _play(story: Story) -> None:
    last = await scrape(story)
    calls = calls_of(story)
    story.say("one line as written:")
    paid = [line for line in story.stage.sidecar.lines() if '"credits":{"contact":2}' in line]
    story.say(paid[0])
    story.say("all of them, shortened:")
    for line in calls:
        story.say(f"  {_in_short(line)}")
    found = totals([*story.scrapes, last])
    story.say("the metrics of both processes, added up:")
    for name, value in sorted(found.items()):
        story.say(f"  {name} {value:g}")
    story.say(f"{len(calls)} lines, and as many requests counted; the killed call has neither")
    await _check(story, calls, found)
    text = "\n".join([*story.stage.sidecar.lines(), *story.scrapes, last])
    expect(not [secret for secret in story.secrets if secret in text], "no token is in log or metrics")
    expect("@" not in text, "no part of a result is in log or metrics")


async def _check(story: Story, calls: list[dict[str, Any]], found: Totals) -> None:
    missing = {code.id for code in story.codes} - {line["code"] for line in calls}
    expect(not missing, f"every refusal shown has a line (missing: {', '.join(missing)})")
    spent = (await story.money()).spent
    counted = _sum(found, "credits_spent")
    story.say(f"of the {spent} credits spent, {counted:g} were spent by calls and {story.by_lease} when a lease ended")
    expect(counted + story.by_lease == spent, "the metrics agree with the ledger")


def _in_short(line: Mapping[str, Any]) -> str:
    what = " ".join(line[name] for name in ("account", "method", "tool") if line[name])
    rows = "" if line["rows"] is None else f", {line['rows']} rows"
    credits = "".join(f", {amount} {pool} credits" for pool, amount in (line["credits"] or {}).items())
    return f"{line['ts'][11:-1]}  {line['http_status']}  {line['code']:22}  {what}{rows}{credits}".rstrip()


STEPS: Final = (
    Step("The log and the metrics", "One line per request, each counted once, and no secret in any of them.", _play),
)
