"""Heads of requests that were accepted before: they are not parsed again, and nothing else changes."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field

import pytest

from sidecar.config.settings.settings import Limits
from sidecar.proxy.listener.answering_connection import ClientRequest
from sidecar.proxy.listener.http_answers import Answer
from sidecar.proxy.listener.request_heads import LONGEST, MOST, Arrived, KnownHeads, RequestHead, arrived
from tests.proxy.listener.door import door
from tests.proxy.listener.test_client_connection import PATIENT, answer, connected
from tests.proxy.support import Launch, policy
from tests.support.issuer import Signer
from tests.support.rig import MODERN, Reply, Rig
from tests.support.store import until


@dataclass
class Gate:
    """A handler that accepts every head, and remembers what it saw."""

    seen: list[tuple[str, bytes, str | None]] = field(default_factory=list)
    """Path, body and a header of each request."""
    heads: list[RequestHead] = field(default_factory=list)
    begun: int = 0

    async def handle(self, request: ClientRequest) -> Answer:
        self.begun += 1
        body = await request.content.read() if request.body is None else request.body
        request.head.accepted_by = self
        self.seen.append((request.raw_path, body, request.headers.get("X-Held")))
        self.heads.append(request.head)
        request.remember_head()
        return Answer(200, (), b"")


def posted(path: str, body: bytes = b"", *fields: str, length: str | None = None) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", *fields, f"Content-Length: {len(body) if length is None else length}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def served(gate: Gate, *parts: bytes) -> Gate:
    """Send parts over one connection, each once the request before is answered."""
    async with door(gate.handle, PATIENT) as place, connected(place) as (reader, writer):
        for part in parts:
            writer.write(part)
            await asyncio.wait_for(answer(reader), 10)
    return gate


async def test_a_head_is_parsed_once_whatever_the_length_of_its_bodies():
    gate = await served(Gate(), posted("/a", b"1", "X-Held: h"), posted("/a", b"22" * 9, "X-Held: h"))
    assert gate.seen == [("/a", b"1", "h"), ("/a", b"22" * 9, "h")]
    assert gate.heads[0] is gate.heads[1]


async def test_a_head_with_one_byte_changed_is_another_one():
    gate = await served(Gate(), posted("/a", b"1", "X-Held: h"), posted("/a", b"1", "X-Held: i"))
    assert gate.seen == [("/a", b"1", "h"), ("/a", b"1", "i")]
    assert gate.heads[0] is not gate.heads[1]


@pytest.mark.parametrize(
    "before",
    [
        posted("/a", b"1") + b"POST /b HTTP/1.1\r\nX-Held: ",
        posted("/a", b"1", length="01") + b"POST /b HTTP/1.1\r\nX-Held: ",
        b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n1\r\n0\r\n\r\n"
        b"POST /b HTTP/1.1\r\nX-Held: ",
        b"GET /a HTTP/1.1\r\nHost: x\r\n\r\nPOST /b HTTP/1.1\r\nX-Held: ",
    ],
    ids=["behind a body", "behind a padded length", "behind chunks", "behind a GET"],
)
async def test_a_known_head_within_another_one_is_a_part_of_that(before: bytes):
    """A proxy in front may send requests of several clients over one connection."""
    gate = Gate()
    async with door(gate.handle, PATIENT) as place:
        async with connected(place) as (reader, writer):
            writer.write(posted("/a", b"1"))
            await answer(reader)
        async with connected(place) as (reader, writer):
            writer.write(before)
            await answer(reader)
            writer.write(posted("/a", b"1"))
            await asyncio.wait_for(answer(reader), 10)
    assert [path for path, _, _ in gate.seen] == ["/a", "/a", "/b"]
    assert gate.seen[2][2] == "POST /a HTTP/1.1"


async def test_a_body_in_several_reads_keeps_the_count():
    gate = Gate()
    async with door(gate.handle, PATIENT) as place, connected(place) as (reader, writer):
        writer.write(posted("/a", b"12", length="4"))
        await until(lambda: gate.begun == 1)
        writer.write(b"34")
        await answer(reader)
        for body in (b"5", b"6"):
            writer.write(posted("/a", body))
            await answer(reader)
    assert [body for _, body, _ in gate.seen] == [b"1234", b"5", b"6"]
    assert gate.heads[0] is gate.heads[1] is gate.heads[2]


async def test_requests_that_wait_in_the_parser_are_not_taken_for_each_other():
    gate, paths = Gate(), [f"/{number}" for number in range(80)]
    async with door(gate.handle, PATIENT) as place:
        for _ in range(2):
            async with connected(place) as (reader, writer):
                for path in paths:
                    writer.write(posted(path, path.encode().rjust(4)))
                for _ in paths:
                    await asyncio.wait_for(answer(reader), 10)
        async with connected(place) as (reader, writer):
            for path in paths:
                writer.write(posted(path, path.encode().rjust(4)))
                await asyncio.wait_for(answer(reader), 10)
    assert [path for path, _, _ in gate.seen] == paths * 3
    assert all(body.decode().strip() == path for path, body, _ in gate.seen)


async def test_heads_of_one_call_only_are_not_remembered():
    traced = posted("/a", b"1", "traceparent: 00-1-2-00")
    gate = await served(Gate(), traced, traced)
    assert gate.heads[0] is not gate.heads[1]


async def test_new_limits_forget_every_head():
    gate = Gate()
    async with door(gate.handle, PATIENT) as place, connected(place) as (reader, writer):
        writer.write(posted("/a"))
        await answer(reader)
        assert len(place.server.heads) == 1
        place.server.limit(Limits())
        assert len(place.server.heads) == 0


async def test_the_oldest_head_is_forgotten_first():
    gate = await served(Gate(), posted("/a"))
    known = KnownHeads()
    keys = [bytes([number & 255, number >> 8]) for number in range(MOST + 1)]
    for key in keys:
        known.learn(Arrived(key, 0, 0, (0, 0)), gate.heads[0], [])
    assert len(known) == MOST
    assert (known.get(keys[0]), known.get(keys[1])) == (None, gate.heads[0])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"POST / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nHost: x\r\n",
        posted("/", length=""),
        posted("/", length="+1"),
        posted("/", length="1 "),
        posted("/", length="1" * 10),
        posted("/" + "p" * LONGEST),
    ],
)
def test_unusual_heads_are_left_to_the_parser(data: bytes):
    assert arrived(data) is None


def test_the_key_covers_everything_but_the_length():
    one, other = arrived(posted("/a", b"1")), arrived(posted("/a", b"22"))
    assert one is not None
    assert other is not None
    assert one.key == other.key
    assert (one.length, other.length) == (1, 2)
    for changed in (posted("/b", b"1"), posted("/a", b"1", "X: y"), posted("/a", b"1").replace(b"t-L", b"t-l")):
        found = arrived(changed)
        assert found is None or found.key != one.key


# --- in a whole sidecar --------------------------------------------------------------------------


@dataclass
class Caller:
    """A client that sends the same head with every call over one connection."""

    rig: Rig
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    token: str

    async def call(self, number: int, token: str | None = None, **more: str) -> Reply:
        message = self.rig.message("tools/call", {"name": "list_taxonomy", "arguments": {}}, id_=number)
        body = json.dumps(message).encode()
        _, _, host, path = self.rig.url.split("/", 3)
        usual = self.rig.request_headers(message, MODERN, token or self.token)
        head = {**usual, "Host": host, **more, "Content-Length": str(len(body))}
        lines = [f"POST /{path} HTTP/1.1", *(f"{name}: {value}" for name, value in head.items())]
        self.writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        status, _, text = await asyncio.wait_for(answer(self.reader), 10)
        return Reply(int(status.split()[1]), {}, text)


async def caller(rig: Rig) -> Caller:
    address = rig.sidecar.addresses["listen"]
    return Caller(rig, *await asyncio.open_connection(address.host, address.port), rig.issuer.mint(scope="stores:read"))


async def test_a_known_head_is_judged_again_by_the_store_and_by_the_policy_in_force(launch: Launch):
    rig = await launch()
    ada = await caller(rig)
    for number in (1, 2, 100):
        reply = await ada.call(number)
        assert (reply.status, reply.code, reply.json["id"]) == (200, None, number)
    assert len(rig.backend.executed) == 3
    await rig.revoke()
    assert (await ada.call(3)).code == "consent_revoked"
    await rig.grant()
    assert (await ada.call(4)).code is None
    (rig.config.parent / "policy.yaml").write_text(
        json.dumps(policy(tools={"list_taxonomy": {"scopes": ["contacts:reveal"]}}))
    )
    assert await rig.sidecar.reload()
    assert (await ada.call(5)).code == "insufficient_scope"
    ada.writer.close()


async def test_new_tokens_in_a_known_head_are_judged_as_in_a_new_one(launch: Launch):
    """A header of its own makes a new head, which is parsed."""
    rig = await launch()
    mint = rig.issuer.mint
    ada = await caller(rig)
    assert (await ada.call(1, mint(scope="stores:read", jti="x" * 64))).code is None
    sent = {
        "good": mint(scope="stores:read"),
        "expired": mint(scope="stores:read", age=2000),
        "of another resource": mint(scope="stores:read", audience="https://other.example"),
        "of another key": mint(scope="stores:read", signer=Signer(kid=rig.issuer.signer.kid, number=9)),
        "unsigned": mint(scope="stores:read").rpartition(".")[0] + ".",
        "without the scope": mint(scopes=["openid"]),
        "of a client without consent": mint(scope="stores:read", client_id="cli-2"),
        "no JWT": "opaque",
        "padded": mint(scope="stores:read") + "==",
    }
    codes = {}
    for number, (name, token) in enumerate(sent.items(), 2):
        found, parsed = await ada.call(number, token), await ada.call(number, token, **{"X-New": str(number)})
        assert (found.status, found.code) == (parsed.status, parsed.code), name
        codes[name] = found.code
    assert codes.pop("good") is None
    assert None not in codes.values()
    written = rig.lines.read_text()
    assert not [name for name, token in sent.items() if len(token) > 9 and token.split(".")[1] in written]
    ada.writer.close()
