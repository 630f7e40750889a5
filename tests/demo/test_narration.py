"""Steps are marked in colours on a terminal, and in plain words elsewhere."""

from __future__ import annotations

from typing import Any, cast

import pytest

from demo.narration import Step, Story, UnexpectedOutcomeError, run_step
from sidecar.observe.formats.palette import Palette


async def good(story: Story) -> None:
    story.say("> a request")


async def bad(story: Story) -> None:
    raise UnexpectedOutcomeError("another outcome")


@pytest.mark.parametrize("colour", [False, True])
async def test_marks_of_steps(capsys: pytest.CaptureFixture[str], colour: bool):
    story = Story(cast(Any, None), palette=Palette(colour))
    assert await run_step(story, 1, 2, Step("a step", "it works", good))
    assert not await run_step(story, 2, 2, Step("another", "it works", bad))
    said = capsys.readouterr().out
    marks = ("\x1b[32mok\x1b[0m", "\x1b[31mFAILED\x1b[0m", "\x1b[31mUNEXPECTED:\x1b[0m") if colour else ("ok", "FAILED")
    assert all(mark in said for mark in marks)
    assert ("\x1b" in said) is colour
