"""Run the whole story, on this machine alone."""

from __future__ import annotations

import asyncio
import io
import logging
import signal
import sys
import time
from pathlib import Path
from typing import Final

import httpx2

from demo import crash, page_steps, records, scenes, steps
from demo.narration import ACCOUNT, Story, run_step, table
from demo.processes import ConditionNotMetError
from demo.stage import Stage
from sidecar.observe.formats.console import readable
from sidecar.observe.formats.palette import Style, palette_for

STEPS: Final = (
    *(*steps.STEPS, page_steps.CONFIRMED, steps.REVOKED, page_steps.REVOKED),
    *(*scenes.STEPS, *crash.STEPS, *records.STEPS),
)


def main(policy: Path | None = None, verbose: bool = False) -> int:
    """Run the story.

    Args:
        verbose: print every request and answer.
        policy: another policy than the demo's own.

    Returns:
        0 only when every step had the expected outcome; 130 when it was interrupted.
    """
    # The story itself shows the refusals that the client logs.
    logging.getLogger("mcp").setLevel(logging.CRITICAL)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # print each step at once, also through a pipe
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background of a script it is ignored
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        with Stage(policy) as stage:
            try:
                return asyncio.run(_run(stage, verbose))
            finally:
                signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave processes behind
    except KeyboardInterrupt:
        print("\ninterrupted; everything has ended")
        return 130
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


async def _run(stage: Stage, verbose: bool) -> int:
    began = time.monotonic()
    async with httpx2.AsyncClient(timeout=30, trust_env=False) as http:
        try:
            await stage.start(http)
        except ConditionNotMetError as error:
            print(f"the demo cannot start: {error}")
            return 1
        palette = palette_for(1)
        story = Story(stage, verbose=verbose, palette=palette)
        _introduce(stage, verbose)
        worked = await _run_steps(story)
        if worked:
            print()
            print("\n".join(table(story, await stage.received(), await stage.money(ACCOUNT))))
        good, bad = ("every step had the expected outcome", Style.GOOD), ("UNEXPECTED OUTCOME", Style.BAD)
        print(f"\n{palette.paint(*(good if worked else bad))} ({time.monotonic() - began:.0f} s)")
    return 0 if worked else 1


def _introduce(stage: Stage, verbose: bool) -> None:
    print("An MCP server without authentication, and the sidecar that protects, polices and meters it.")
    if not verbose:
        return
    print(f"  sidecar   {stage.url}   (admin {stage.admin})")
    print(f"  issuer    {stage.issuer_url}")
    print(f"  backend   {stage.backend_url}")
    print(f"  files     {stage.config} and policy.yaml in the same directory, until the end of the demo")
    print("Commands are shown without their `--config` option.")


async def _run_steps(story: Story) -> bool:
    for number, step in enumerate(STEPS, start=1):
        if not await run_step(story, number, len(STEPS), step):
            print("\nThe story ends here, because later steps need this one. The sidecar's last lines:")
            print("\n".join(readable(line, story.palette) for line in story.stage.sidecar.last_words().splitlines()))
            return False
    return True
