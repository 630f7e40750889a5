"""The backend gives the prepared answers, in C and in Python."""

from __future__ import annotations

import json
import socket
import struct
import sys
from pathlib import Path

import pytest

from bench import backend
from bench.machine import free_port, started
from bench.material import ANSWERS, LARGE, MEBIBYTE, STREAMED, call, http

pytestmark = pytest.mark.process

FALLBACK = [sys.executable, "-m", "bench.backend.fallback"]


@pytest.fixture(params=["built", "fallback"])
def command(request):
    return backend.command() if request.param == "built" else FALLBACK


def asked(port: int, *requests: bytes, end: bytes, times: int = 1) -> bytes:
    """Send requests over one connection, the last in two parts, and read until as many answers end so."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as one:
        whole = b"".join(requests)
        one.sendall(whole[:-20])
        one.sendall(whole[-20:])
        received = b""
        while received.count(end) < times:
            part = one.recv(65536)
            assert part, received
            received += part
    return received


def served(command, folder: Path, answers: dict[str, bytes]):
    for name, text in answers.items():
        (folder / name).write_bytes(text)
    port = free_port()
    return started([*command, str(port), folder], port, core=0)


def test_answers_have_the_id_of_their_request(command, tmp_path):
    with served(command, tmp_path, ANSWERS) as one:
        received = asked(one.port, call("t", number=7), call("t", number=8), end=b'"complete"}}', times=2)
    bodies = [json.loads(part.partition(b"\r\n\r\n")[2]) for part in received.split(b"HTTP/1.1 200 OK\r\n")[1:]]
    assert [body["id"] for body in bodies] == [7, 8]
    assert bodies[0]["result"]["structuredContent"] == {"rows": [{"id": "row-1"}, {"id": "row-2"}]}


def test_streams_are_chunked_by_event(command, tmp_path):
    with served(command, tmp_path, STREAMED) as one:
        received = asked(one.port, call("t", number=7), end=b"0\r\n\r\n")
    assert received.count(b"notifications/progress") == 5
    assert b'"id": 7' in received


def test_clients_that_leave_before_the_answer_disturb_no_other(command, tmp_path):
    large = {**ANSWERS, "search.json": LARGE["search.json"]}
    with served(command, tmp_path, large) as one:
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", one.port), timeout=10) as leaving:
                leaving.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # resets
                leaving.sendall(call("t") * 4)
                leaving.recv(1)
        assert len(asked(one.port, call("t"), end=b'"complete"}}')) > MEBIBYTE


def test_sessions_are_numbered_and_notifications_accepted(command, tmp_path):
    begin = http("POST", b'{"jsonrpc":"2.0","id":"a","method":"initialize","params":{}}', {})
    noted = http("POST", b'{"jsonrpc":"2.0","method":"notifications/initialized"}', {})
    with served(command, tmp_path, ANSWERS) as one:
        received = asked(one.port, begin, begin, noted, end=b"Content-Length: 0\r\n\r\n")
    assert b"Mcp-Session-Id: bench-1\r\n" in received
    assert b"Mcp-Session-Id: bench-2\r\n" in received
    assert b'"id": "a"' in received
    assert b"HTTP/1.1 202 " in received
