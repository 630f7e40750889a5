"""Names of undeclared tools in the log: once an hour, escaped, cut and bounded."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from sidecar.errors import ErrorCode, Refusal
from sidecar.model import Call, Caller, CallKind, Revision
from sidecar.observe.logs import Lines
from sidecar.observe.undeclared import HOUR, MAX_LENGTH, MAX_NAMES, MAX_OF_ACCOUNT, UndeclaredTools
from sidecar.outcome import Exchange


class Log:
    """Undeclared tools that callers ask for, and a clock that the test moves."""

    def __init__(self, reading: int, writing: int) -> None:
        self.now = 0.0
        self._reading = reading
        self.lines = Lines(fd=writing)
        self._tools = UndeclaredTools(self.lines, clock=lambda: self.now)

    def asked(
        self, name: Any, account: str = "ada", code: ErrorCode = ErrorCode.TOOL_UNKNOWN, tool: str | None = None
    ) -> list[dict[str, Any]]:
        """Ask for a tool; return the lines that this wrote."""
        caller = Caller("main", "https://i", account, account, "cli-1", frozenset(), 0, 9)
        call = Call(CallKind.REQUEST, Revision.V2026_07_28, "tools/call", 1, {"name": name})
        self._tools.note(Exchange("r-1", 0.0, call=call, caller=caller, refusal=Refusal(code), tool=tool))
        self.lines.flush()
        try:
            return [json.loads(line) for line in os.read(self._reading, 1 << 20).splitlines()]
        except BlockingIOError:
            return []


@pytest.fixture
def log() -> Iterator[Log]:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    made = Log(reading, writing)
    yield made
    made.lines.flush()
    os.close(reading)
    os.close(writing)


def test_a_name_is_written_once_an_hour(log: Log):
    (line,) = log.asked("serach")
    assert (line["event"], line["level"], line["name"], line["account"]) == ("tool_undeclared", "info", "serach", "ada")
    log.now = HOUR - 1
    assert log.asked("serach") == log.asked("serach", "bob") == []
    log.now = HOUR
    assert [line["name"] for line in log.asked("serach")] == ["serach"]


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("a\nb\x1b[2J", "a\\nb\\x1b[2J"),
        ("\u202eé", "\\u202e\\xe9"),
        ("x" * 10**6, "x" * MAX_LENGTH),
        ("é" * 200, ("\\xe9" * 32)[: MAX_LENGTH - 1] + "…"),
        ("Bearer abc.def", "Bearer [hidden]"),
        ("eyJhbGciOiJIUzI1NiJ9.e30.abcdefgh12345678", "[hidden]"),
    ],
)
def test_a_name_is_escaped_cut_and_redacted(log: Log, name: str, written: str):
    assert [line["name"] for line in log.asked(name)] == [written]


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("search", {"tool": "search"}),
        ("search", {"code": ErrorCode.TOOL_CHANGED}),
        ("search", {"code": ErrorCode.CONSENT_MISSING}),
        (None, {}),
        (7, {}),
        ({"a": 1}, {}),
    ],
)
def test_nothing_else_is_written(log: Log, name: Any, more: dict[str, Any]):
    assert log.asked(name, **more) == []


def test_one_account_cannot_fill_the_log(log: Log):
    assert sum(len(log.asked(f"name-{number}")) for number in range(3 * MAX_OF_ACCOUNT)) == MAX_OF_ACCOUNT
    assert len(log.asked("serach", "bob")) == 1


def test_many_accounts_together_are_bounded(log: Log):
    asked = ((f"name-{number}", str(number % 500)) for number in range(MAX_NAMES + 50))
    assert sum(len(log.asked(*each)) for each in asked) == MAX_NAMES
    log.now = HOUR
    assert len(log.asked("serach")) == 1
