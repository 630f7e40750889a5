"""Good requests with changed bytes: the backend receives complete, paid calls or nothing."""

from __future__ import annotations

import asyncio
import json
from random import Random

import pytest

from sidecar.protocol import jsonrpc
from tests.fuzz.mutate import mutated
from tests.support.store import rest
from tests.wire import documents
from tests.wire.sent import BOTH
from tests.wire.wire import Wire, check_request, replies

pytestmark = pytest.mark.asyncio(loop_scope="module")

COUNT, AT_ONCE = 400, 40
LINES = (
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"\r\n\r\n",
        b" ",
        b"\t",
        b":",
        b",",
        b";",
        b"\0",
        b"\xff",
        b"\x7f",
        b"%2f",
        b"/",
        b"?",
        b"#",
    ),
    *(b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n", b"Host: evil.example\r\n"),
    *(b"Content-Type: text/plain\r\n", b"Content-Encoding: gzip\r\n", b"Authorization: Bearer x\r\n", b" folded\r\n"),
    *(b"Mcp-Name: reveal_contacts\r\n", b"Mcp-Method: tools/list\r\n", b"MCP-Protocol-Version: 2025-06-18\r\n"),
    *(b"X-MCP-Account: eve\r\n", b"X_MCP_Account: eve\r\n", b"Connection: close\r\n", b"Connection: Upgrade\r\n"),
    *(
        b"Upgrade: h2c\r\n",
        b"Expect: 100-continue\r\n",
        b"Origin: null\r\n",
        b"POST ",
        b"GET ",
        b" HTTP/1.1\r\n",
        b"HTTP/1.0",
    ),
    *(b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n", b"0\r\n\r\n", b"5f\r\n"),
)


@pytest.mark.parametrize("revision", BOTH)
async def test_requests_with_bytes_changed(wire: Wire, revision: str):
    good = wire.request(revision)
    made = [changed(seed, good) for seed in range(COUNT)]
    for start in range(0, COUNT, AT_ONCE):
        await asyncio.gather(*(tried(wire, data) for data in made[start : start + AT_ONCE]))
    received, paid = wire.rig.backend.received, 0
    for one in received:
        if one.method == "GET":  # a stream was asked for
            assert one.body == b""
            continue
        version = one.header("mcp-protocol-version") or "2025-03-26"
        check_request(one, version, wire.rig.backend.port)
        assert jsonrpc.read(one.body).method == one.message["method"]
        assert b"bearer" not in one.raw.lower()
        paid += one.message["method"] == "tools/call"
    assert 0 < len(received) < COUNT  # some came through unharmed, most did not
    async with asyncio.timeout(30):  # what was cut off in the middle ends by itself
        while (books := await wire.rig.books()).holds:
            await rest()
    assert books.used.get("requests", 0) == wire.before.used.get("requests", 0) + paid
    assert books.left() == wire.before.left()


def changed(seed: int, good: bytes) -> bytes:
    """The head changed, or the body, or both."""
    random = Random(seed)
    head, _, body = good.partition(b"\r\n\r\n")
    if random.random() < 0.7:
        head = mutated(random, head, random.choice((1, 1, 2, 4)), LINES, [body])
    if random.random() < 0.5:
        body = mutated(random, body, random.choice((1, 1, 2, 4)), documents.SNIPPETS, [head])
        if random.random() < 0.7:  # mostly framed as it is
            length = json.dumps(len(body)).encode()
            head = b"\r\n".join(
                b"Content-Length: " + length if line.lower().startswith(b"content-length:") else line
                for line in head.split(b"\r\n")
            )
    return head + b"\r\n\r\n" + body


async def tried(wire: Wire, data: bytes) -> None:
    """Send it and leave: at an answer, at the end, or when it seems to be waited for."""
    address = wire.rig.sidecar.addresses["listen"]
    reader, writer = await asyncio.open_connection(address.host, address.port)
    answer = b""
    try:
        writer.write(data)
        async with asyncio.timeout(0.5):
            while not replies(answer, cut=True) and (more := await reader.read(65536)):
                answer += more
    except (TimeoutError, ConnectionResetError):
        pass
    finally:
        writer.transport.abort()
    # The token's first part is the same in all of them.
    assert not any(part.encode() in answer for part in wire.token.split(".")[1:])
