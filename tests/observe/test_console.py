"""Readable lines: their words, their colours, and that no value controls a terminal."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.observe.formats.console import console_line, readable
from sidecar.observe.formats.palette import Palette, palette_for
from sidecar.observe.logs import MAX_LINE, Lines
from sidecar.observe.record import fields
from sidecar.observe.statuses import Status
from sidecar.outcome import Exchange

PLAIN, COLOUR = Palette(False), Palette(True)
CODES = re.compile(r"\x1b\[\d+m")
CALL: dict[str, Any] = {
    "ts": "2026-11-23T06:47:08.369Z", "level": "info", "event": "call",
    **fields(Exchange("a0b8", 0.0, http_status=200), Status.OK, 0.0097),
    "method": "tools/call", "tool": "reveal_contacts", "account": "ada", "client_id": "cli-1",
    "credits": {"contact": 2}, "rows": 2, "backend_ms": 4.1, "rule": "policies/p.yaml:102",
}  # fmt: skip
EVENT = {"ts": "2026-11-23T06:47:08.369Z", "level": "warning", "event": "not_ready", "what": "store", "problem": "a b"}


def line(given: dict[str, Any], palette: Palette = PLAIN, limit: int = MAX_LINE) -> str:
    return console_line(given, palette, limit).decode("ascii")


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Both ends of a terminal: what reads it, and the one that a process has."""
    ends = os.openpty()
    yield ends
    for end in ends:
        os.close(end)


def test_a_call_reads_as_a_sentence():
    assert line(CALL) == (
        "06:47:08.369Z info    tools/call reveal_contacts 200 ok ada cli-1 9.7 ms (backend 4.1) "
        'rule=policies/p.yaml:102 rows=2 credits={"contact":2} request_id=a0b8\n'
    )


def test_an_event_has_its_fields_by_name():
    assert line(EVENT) == '06:47:08.369Z warning not_ready what=store problem="a b"\n'


def test_colours_change_nothing_else():
    for each in (CALL, EVENT):
        painted = line(each, COLOUR)
        assert CODES.search(painted)
        assert CODES.sub("", painted) == line(each)


@pytest.mark.parametrize(
    ("environ", "colour"),
    [
        ({}, True),
        ({"NO_COLOR": "1"}, False),
        ({"NO_COLOR": ""}, True),
        ({"TERM": "dumb"}, False),
        ({"TERM": "xterm"}, True),
    ],
)
def test_a_terminal_has_colours_unless_it_is_asked_not_to(
    terminal: tuple[int, int], environ: dict[str, str], colour: bool
):
    assert palette_for(terminal[1], environ).colour is colour


def test_a_pipe_and_a_closed_descriptor_have_none(pipe_ends: tuple[int, int]):
    assert not palette_for(pipe_ends[1], {}).colour
    assert not palette_for(10**6, {}).colour


@pytest.fixture
def pipe_ends() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


@pytest.mark.parametrize(("format", "to", "is_json"), [
    ("json", "terminal", True), ("console", "terminal", False), ("auto", "terminal", False),
    ("json", "pipe", True), ("console", "pipe", False), ("auto", "pipe", True),
])  # fmt: skip
def test_auto_is_for_people_on_a_terminal_only(
    terminal: tuple[int, int], pipe_ends: tuple[int, int], format: str, to: str, is_json: bool
):
    reading, writing = terminal if to == "terminal" else pipe_ends
    lines = Lines(fd=writing, format=format)
    lines.event("ready", what="store")
    assert lines.flush(10)
    written = os.read(reading, 1 << 16).decode()
    assert (json.loads(written)["what"] == "store") if is_json else ("what=" in CODES.sub("", written))
    assert ("\x1b" in written) is (to == "terminal" and not is_json and not os.environ.get("NO_COLOR"))


@given(st.dictionaries(st.text(max_size=20), st.text() | st.integers() | st.none() | st.lists(st.text()), max_size=6))
def test_any_values_make_one_printable_line(values: dict[str, Any]):
    for event in ("call", "other"):
        made = line({**values, "ts": EVENT["ts"], "level": "info", "event": event})
        assert made.endswith("\n")
        assert all(" " <= character <= "~" for character in made[:-1])
        assert len(made) <= MAX_LINE


def test_a_long_line_is_cut_and_has_no_open_colour():
    made = line({**EVENT, **{f"field-{number}": "x" * 300 for number in range(50)}}, COLOUR)
    assert len(made) == MAX_LINE
    assert made.endswith(" ...\n")
    assert "\x1b" not in made


def test_lines_of_a_json_log_are_readable_later():
    assert readable(json.dumps(EVENT), PLAIN) == line(EVENT).rstrip("\n")
    assert [readable(each, PLAIN) for each in ("not json", "[]", '{"a": 1}')] == ["not json", "[]", '{"a": 1}']


@pytest.mark.process
@pytest.mark.parametrize(
    ("log", "is_json"), [("", True), ("log: {format: console}\n", False), ("log: {format: x}\n", True)]
)
def test_problems_before_the_start_have_the_format_of_the_log(tmp_path: Path, log: str, is_json: bool):
    config = tmp_path / "config.yaml"
    config.write_text(f"wrong: 1\n{log}")
    command = [sys.executable, "-m", "sidecar", "serve", "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    first = done.stderr.splitlines()[0]
    if is_json:
        found = json.loads(first)
        assert (found["level"], found["event"]) == ("error", "files_invalid")
        assert "config.yaml:1:1: wrong: unknown key" in done.stderr
    else:
        begin = r"\d\d:\d\d:\d\d\.\d\d\dZ error   files_invalid problem="
        assert all(re.match(begin, each) for each in done.stderr.splitlines())
        assert re.search(rf'^{begin}".*config\.yaml:1:1: wrong: unknown key', done.stderr, re.MULTILINE)
