"""The backend where there is no C compiler: the same prepared answers (see server.c), at about five times the cost."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from pathlib import Path
from typing import Any, cast

import uvloop

_ID = b"@ID@"


class _Answers:
    """Whole responses by name, each as what stands before and after the id."""

    def __init__(self, folder: Path) -> None:
        self._files = {path.stem: path for path in folder.iterdir() if path.suffix != ".head"}
        self._count = itertools.count(1)
        self._texts = {name: path.read_bytes() for name, path in self._files.items()}

    def response(self, message: dict[str, Any]) -> bytes:
        """Return the answer to one message."""
        if "id" not in message:
            return b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
        method = message.get("method", "")
        name = message["params"]["name"] if method == "tools/call" else method.replace("/", "_")
        return self.named(name if name in self._texts else "search", json.dumps(message["id"]).encode())

    def named(self, name: str, request_id: bytes) -> bytes:
        """Return the answer in one file."""
        path, body = self._files[name], self._texts[name].replace(_ID, request_id, 1)
        further = path.with_suffix(".head")
        head = further.read_bytes().replace(b"@N@", b"%d" % next(self._count)) if further.exists() else b""
        if path.suffix == ".json":
            kind = b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(body)
        else:
            kind = b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n"
            events = [event + b"\n\n" for event in body.split(b"\n\n") if event]
            body = b"".join(b"%x\r\n%s\r\n" % (len(event), event) for event in events)
            body += b"" if path.suffix == ".hold" else b"0\r\n\r\n"
        return b"HTTP/1.1 200 OK\r\n" + head + kind + b"\r\n" + body


class _Connection(asyncio.Protocol):
    def __init__(self, answers: _Answers) -> None:
        self._answers = answers
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own does not inherit from it

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            head, _, rest = self._buffer.partition(b"\r\n\r\n")
            if head.startswith(b"GET"):
                self._buffer = rest
                self._transport.write(self._answers.named("GET", b""))
                continue
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
            if len(rest) < length:
                return
            body, self._buffer = rest[:length], rest[length:]
            self._transport.write(self._answers.response(json.loads(body)))


async def _serve(port: int, folder: Path) -> None:
    answers = _Answers(folder)
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(answers), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), Path(sys.argv[2])))
