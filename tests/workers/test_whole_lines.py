"""Lines of several processes on one pipe do not mix."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter

import pytest

from sidecar.observe.logs import MAX_LINE

WRITERS, LINES = 4, 150
PROGRAM = f"""
import sys
from sidecar.observe.logs import Lines
lines = Lines()
for number in range({LINES}):
    lines.write("info", "filled", {{"writer": sys.argv[1], "text": sys.argv[1] * ({MAX_LINE} - 120 - number % 3000)}})
lines.flush(60)
"""
pytestmark = pytest.mark.process


def test_long_lines_of_several_processes_stay_whole():
    reading, writing = os.pipe()
    writers = [subprocess.Popen([sys.executable, "-c", PROGRAM, name], stdout=writing) for name in "abcd"[:WRITERS]]
    os.close(writing)
    text = b""
    while data := os.read(reading, 1777):  # less than a line, so that the pipe is full most of the time
        text += data
    os.close(reading)
    assert [writer.wait() for writer in writers] == [0] * WRITERS
    lines = [json.loads(line) for line in text.splitlines()]
    assert Counter(line["writer"] for line in lines) == dict.fromkeys("abcd"[:WRITERS], LINES)
    assert all(set(line["text"]) == {line["writer"]} for line in lines)
    assert max(map(len, text.splitlines())) > MAX_LINE - 200
