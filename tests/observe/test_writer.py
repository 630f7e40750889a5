"""The queue in front of standard output: bounded, in order, and never waited for."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.observe.writer import MAX_BYTES, MAX_LINES, LineWriter


class Pipe:
    """A pipe with a writer, and the lines that were dropped."""

    def __init__(self) -> None:
        self.reader, self.end = os.pipe()
        self.dropped = 0
        self.writer = LineWriter(self.end, self._drop)

    def _drop(self) -> None:
        self.dropped += 1

    def drain(self) -> list[bytes]:
        """Read until everything that was queued has come."""
        os.set_blocking(self.reader, False)
        data = b""
        while True:
            done = self.writer.flush(0.005)
            try:
                data += os.read(self.reader, 1 << 20)
            except BlockingIOError:
                if done:
                    return data.splitlines()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.drain()
    os.close(made.reader)
    os.close(made.end)


def test_lines_come_whole_and_in_order(pipe: Pipe):
    for number in range(5000):
        pipe.writer.put(b"%05d\n" % number)
    assert pipe.drain() == [b"%05d" % number for number in range(5000)]
    assert pipe.dropped == 0


@pytest.mark.parametrize("size", [10, 4000])
def test_an_unread_pipe_loses_lines_only(pipe: Pipe, size: int):
    """As many lines wait as have room, by number or by bytes; the others are dropped, and counted."""
    lines = [b"%06d" % number + b"x" * (size - 7) + b"\n" for number in range(2 * MAX_LINES)]
    for line in lines:
        pipe.writer.put(line)
    held = min(MAX_LINES, MAX_BYTES // size)
    read = pipe.drain()
    assert len(read) + pipe.dropped == len(lines)
    # The queue, the content of the pipe, and the lines of the blocked write.
    assert held <= len(read) <= held + (1 << 16) // size + 4096 // size + 1
    assert read[:held] == [line.rstrip(b"\n") for line in lines[:held]], "the oldest are kept"
    assert read == sorted(read)
    pipe.writer.put(b"again\n")
    assert pipe.drain() == [b"again"]


@pytest.mark.parametrize("size", [1000, 4096, 5000])
def test_lines_of_any_length_stay_whole(pipe: Pipe, size: int):
    lines = [b"%d" % (number % 10) * (size - 1) for number in range(50)]
    for line in lines:
        pipe.writer.put(line + b"\n")
    assert pipe.drain() == lines


def test_waiting_lines_share_writes_as_large_as_a_pipe_takes_in_one_piece():
    """A read of a datagram socket returns one write; few fit into it, so that the others wait."""
    reader, end = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    writer = LineWriter(end.fileno(), lambda: None)
    for number in range(1000):
        writer.put(b"%03d" % number + b"x" * 496 + b"\n")
    data = [reader.recv(1 << 20)]
    while not data[-1].startswith(b"999") and b"\n999" not in data[-1]:
        data.append(reader.recv(1 << 20))
    assert [line[:3] for line in b"".join(data).splitlines()] == [b"%03d" % number for number in range(1000)]
    assert {len(each) for each in data[-50:-1]} == {8 * 500}
    reader.close()
    end.close()


def test_lines_after_a_pause_come_without_flushing(pipe: Pipe):
    for number in range(3):
        pipe.writer.put(b"%d\n" % number)
        assert os.read(pipe.reader, 100) == b"%d\n" % number


def test_flushing_gives_up_in_time(pipe: Pipe):
    for _ in range(100):
        pipe.writer.put(b"x" * 4095 + b"\n")
    assert not pipe.writer.flush(0.01)


def test_a_pipe_made_non_blocking_by_another_loses_nothing(pipe: Pipe):
    os.set_blocking(pipe.end, False)
    for number in range(3000):
        pipe.writer.put(b"%05d" % number + b"x" * 94 + b"\n")
    assert len(pipe.drain()) == 3000
    assert pipe.dropped == 0


def test_a_closed_pipe_loses_its_lines():
    dropped: list[int] = []
    reader, end = os.pipe()
    os.close(reader)
    writer = LineWriter(end, lambda: dropped.append(1))
    for _ in range(3):
        writer.put(b"x\n")
        assert writer.flush(10)
    os.close(end)
    assert len(dropped) == 3


CUT = """
import resource, signal, sys
from sidecar.observe.writer import LineWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
dropped = []
with open(sys.argv[1], "ab", buffering=0) as file:
    writer = LineWriter(file.fileno(), lambda: dropped.append(1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (15, resource.RLIM_INFINITY))
    for line in (b"first 789\\n", b"second 89\\n", b"third 789\\n"):
        writer.put(line)
        assert writer.flush(10)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    writer.put(b"fourth 89\\n")
    assert writer.flush(10)
print(len(dropped))
"""


def test_a_line_that_a_full_disk_has_cut_does_not_spoil_the_next(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-c", CUT, str(tmp_path / "log")], capture_output=True, text=True, timeout=150
    )
    assert (done.stdout, done.stderr) == ("2\n", "")
    assert (tmp_path / "log").read_bytes().splitlines() == [b"first 789", b"secon", b"fourth 89"]


def test_a_writer_that_is_stuck_does_not_keep_the_process():
    reader, end = os.pipe()
    code = (
        "from sidecar.observe.writer import LineWriter\n"
        "writer = LineWriter(1, lambda: None)\n"
        "for _ in range(100): writer.put(b'x' * 4095 + b'\\n')\n"
        "assert not writer.flush(0.05)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=end, stderr=subprocess.PIPE)
    _, said = process.communicate(timeout=150)
    os.close(reader)
    os.close(end)
    assert (process.returncode, said) == (0, b"")


def test_many_threads_may_log(pipe: Pipe):
    def some(name: int) -> None:
        for number in range(500):
            pipe.writer.put(b"%d-%d\n" % (name, number))

    threads = [threading.Thread(target=some, args=(name,)) for name in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(set(pipe.drain())) == 2000


NESTED = """
import sys
from sidecar.observe.writer import LineWriter
writer = LineWriter(1, lambda: None)
def within(frame, event, _):
    if event == "c_call" and frame.f_code is LineWriter.put.__code__:
        writer.put(b"nested\\n")
sys.setprofile(within)
writer.put(b"line\\n")
sys.setprofile(None)
assert writer.flush(10)
"""


def test_a_line_may_be_logged_while_another_is_queued():
    """The garbage collector and signals interrupt anywhere, and log what fails then."""
    done = subprocess.run([sys.executable, "-c", NESTED], capture_output=True, text=True, timeout=150)
    assert (set(done.stdout.splitlines()), done.stderr) == ({"line", "nested"}, "")
