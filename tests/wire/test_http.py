"""Ambiguous HTTP: request targets, credentials and framing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import pytest

from tests.support.rig import LEGACY, MODERN
from tests.wire.expected import FORWARDED, HTTP, NO_PATH, NO_VERB, UNPARSABLE, Outcome, Refused
from tests.wire.sent import BOTH, GOOD, Changes
from tests.wire.wire import Wire

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHUNKED: Changes = {"Transfer-Encoding": "chunked", "Content-Length": []}


def chunks(*parts: bytes, trailers: bytes = b"") -> bytes:
    """A body in chunks."""
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n" + trailers + b"\r\n"


def same(body: bytes) -> bytes:
    return body


@dataclass(frozen=True, slots=True)
class Sent:
    """A good call but for its headers, its first line, or the way its body is written."""

    changes: Changes = field(default_factory=dict)
    first: str = "POST /mcp HTTP/1.1"
    body: Callable[[bytes], bytes] = same


Table = dict[str, dict[str, tuple[Sent, Outcome]]]


def headers(**values: str | list[str]) -> Sent:
    """A call with these headers: underscores for hyphens."""
    return Sent({name.replace("_", "-"): value for name, value in values.items()})


def line(first: str) -> Sent:
    return Sent(first=first)


def length(value: str | list[str]) -> Sent:
    return Sent({"Content-Length": value})


def coding(value: str | list[str]) -> Sent:
    """A body in chunks whose coding is called this."""
    return Sent({**CHUNKED, "Transfer-Encoding": value}, body=chunks)


def first_chunk(size: bytes, end: bytes = b"\r\n") -> Sent:
    """A body in chunks, the first of which is introduced by this line and ended by that."""
    return Sent(CHUNKED, body=lambda body: size + body[:5] + end + chunks(body[5:]))


def trailers(text: bytes) -> Sent:
    return Sent(CHUNKED, body=lambda body: chunks(body, trailers=text))


def cases(table: Table, revisions: Iterable[str] = BOTH) -> pytest.MarkDecorator:
    made = [
        pytest.param(sent, outcome, revision, id=f"{row}: {name}, {revision[:7]}")
        for row, behaviours in table.items()
        for name, (sent, outcome) in behaviours.items()
        for revision in revisions
    ]
    return pytest.mark.parametrize(("sent", "outcome", "revision"), made)


FRAMING: Table = {
    "a length": {
        "and chunks": (Sent({"Transfer-Encoding": "chunked"}, body=chunks), HTTP),
        "and chunks, in plain": (Sent({"Transfer-Encoding": "chunked"}), HTTP),
        "and identity": (Sent({"Transfer-Encoding": "identity"}), HTTP),
        "twice": (length(["95", "95"]), HTTP),
        "twice, differently": (length(["95", "3"]), HTTP),
        "in a list": (length("95, 95"), HTTP),
        "with a plus": (length("+7"), HTTP),
        "with a minus": (length("-7"), HTTP),
        "in hexadecimal": (length("0x5f"), HTTP),
        "with a point": (length("95.0"), HTTP),
        "with an exponent": (length("1e2"), HTTP),
        "in words": (length("x"), HTTP),
        "empty": (length(""), HTTP),
        "behind a vertical tab": (length("\x0b95"), HTTP),
        "beyond 64 bits": (length("9" * 30), HTTP),
        "of nothing": (Sent({"Content-Length": "0"}, body=lambda body: b""), UNPARSABLE),
        "that is missing": (Sent({"Content-Length": []}, body=lambda body: b""), UNPARSABLE),
        "by another name": (Sent({"Content_Length": "3"}), FORWARDED),
    },
    "a transfer coding": {
        "unknown": (coding("xchunked"), HTTP),
        "identity": (coding("identity"), HTTP),
        "gzip": (coding("gzip"), HTTP),
        "gzip, chunked": (coding("gzip, chunked"), HTTP),
        "gzip, chunked in two lines": (coding(["gzip", "chunked"]), HTTP),
        "unknown, chunked": (coding("trailers, chunked"), HTTP),
        "chunked, identity": (coding("chunked, identity"), HTTP),
        "chunked twice": (coding("chunked, chunked"), HTTP),
        "chunked in two lines": (coding(["chunked", "chunked"]), HTTP),
        "chunked with a parameter": (coding("chunked;q=1"), HTTP),
        "chunked and a comma": (coding("chunked,"), HTTP),
        "chunked behind a vertical tab": (coding("\x0bchunked"), HTTP),
        "empty": (coding(""), HTTP),
        "in HTTP/1.0": (Sent(CHUNKED, "POST /mcp HTTP/1.0", chunks), HTTP),
        "before the colon a blank": (Sent({"Transfer-Encoding ": "chunked", "Content-Length": []}, body=chunks), HTTP),
        "by another name": (Sent({"Transfer_Encoding": "chunked"}), FORWARDED),
        "in capitals": (coding("CHUNKED"), FORWARDED),
    },
    "a chunk": {
        "in hexadecimal with 0x": (first_chunk(b"0x5\r\n"), HTTP),
        "with a plus": (first_chunk(b"+5\r\n"), HTTP),
        "with a minus": (first_chunk(b"-5\r\n"), HTTP),
        "behind a blank": (first_chunk(b" 5\r\n"), HTTP),
        "before a blank": (first_chunk(b"5 \r\n"), HTTP),
        "with an underscore": (first_chunk(b"0_5\r\n"), HTTP),
        "of no size": (first_chunk(b"\r\n"), HTTP),
        "beyond 64 bits": (first_chunk(b"f" * 17 + b"\r\n"), HTTP),
        "on a bare line feed": (first_chunk(b"5\n"), HTTP),
        "ended by a bare line feed": (first_chunk(b"5\r\n", b"\n"), HTTP),
        "not ended": (first_chunk(b"5\r\n", b""), HTTP),
        "longer than it says": (first_chunk(b"4\r\n"), HTTP),
        "with a line feed in its extension": (first_chunk(b"5;a\nb\r\n"), HTTP),
        "with a line break in a quoted extension": (first_chunk(b'5;a="\r\n"\r\n'), HTTP),
        "with an extension": (first_chunk(b"5;ext=canary\r\n"), FORWARDED),
        "with zeros": (first_chunk(b"0005\r\n"), FORWARDED),
        "in capitals": (Sent(CHUNKED, body=lambda body: b"%X\r\n%s\r\n0\r\n\r\n" % (len(body), body)), FORWARDED),
        "after chunk": (Sent(CHUNKED, body=lambda body: chunks(*(bytes([byte]) for byte in body))), FORWARDED),
    },
    "a trailer": {
        "is dropped": (trailers(b"X-Canary: 1\r\nMcp-Name: reveal_contacts\r\n"), FORWARDED),
        "is no identity": (trailers(b"X-MCP-Account: eve\r\nAuthorization: Bearer canary\r\n"), FORWARDED),
        "that is a second length": (trailers(b"Content-Length: 3\r\n"), HTTP),
        "that is a second coding": (trailers(b"Transfer-Encoding: gzip\r\n"), HTTP),
        "that is no header": (trailers(b"canary\r\n"), HTTP),
    },
    "a header": {
        "folded": (headers(X_A="1\r\n canary"), HTTP),
        "folded by a tab": (headers(X_A="1\r\n\tcanary"), HTTP),
        "with a bare line feed": (headers(X_A="1\nX-B: canary"), HTTP),
        "with a bare return": (headers(X_A="1\rX-B: canary"), HTTP),
        "with NUL": (headers(X_A="a\0b"), HTTP),
        "with a vertical tab": (headers(X_A="a\x0bb"), HTTP),
        "with DEL": (headers(X_A="a\x7fb"), HTTP),
        "without a name": (Sent({"": "x"}), HTTP),
        "with a blank in its name": (Sent({"X A": "x"}), HTTP),
        "with a blank before the colon": (Sent({"X-A ": "x"}), HTTP),
        "with a bracket in its name": (Sent({"X(A)": "x"}), HTTP),
        "with an umlaut in its name": (Sent({"X-\xe4": "x"}), HTTP),
        "without a colon": (headers(Connection="close\r\ncanary"), HTTP),
        "that is huge": (headers(X_A="x" * 20_000), HTTP),
        "among too many": (headers(X_A=["x" * 100] * 300), HTTP),
        "of Latin-1 is nothing to anybody": (headers(X_A="\xff"), FORWARDED),
    },
}

ROUTES = [
    *("/", "/mcp/", "/MCP", "/Mcp", "/mcp/x", "/xmcp", "//mcp", "/./mcp", "/x/../mcp", "/mcp/.", "/mcp%2f", "/%6dcp"),
    *("/mcp;x", "/mcp%00", "/mcp%3f", "/mcp\\", "/mcp%2f..%2fadmin", "//evil.example/mcp", "/admin", "/mcp%20"),
    "/mcp#x",
    *("http://evil.example/mcp", "https://127.0.0.1/mcp", "/.well-known/oauth-protected-resource/"),
    *("/.well-known/openid-configuration", "/metrics", "/healthz", "/readyz", "/mcp/../mcp", "/mcp&x=/mcp"),
]

LINES: Table = {
    "a path": {path: (line(f"POST {path} HTTP/1.1"), NO_PATH) for path in ROUTES},
    "a target": {
        "of the whole server": (line("POST * HTTP/1.1"), HTTP),
        "that is no path": (line("POST mcp HTTP/1.1"), HTTP),
        "without a host": (line("POST http:///mcp HTTP/1.1"), HTTP),
        "with NUL": (line("POST /mcp\0 HTTP/1.1"), HTTP),
        "in raw UTF-8": (line("POST /mcp\xc3\xa9 HTTP/1.1"), HTTP),
        "with a query": (line("POST /mcp?y=/admin&x=%2e%2e HTTP/1.1"), FORWARDED),
    },
    "a method": {
        "in small letters": (line("post /mcp HTTP/1.1"), HTTP),
        "unknown": (line("FOO /mcp HTTP/1.1"), HTTP),
        "that is no word": (line("P@ST /mcp HTTP/1.1"), HTTP),
        "with NUL": (line("P\0ST /mcp HTTP/1.1"), HTTP),
        **{
            method: (line(f"{method} /mcp HTTP/1.1"), NO_VERB)
            for method in ("PUT", "PATCH", "TRACE", "OPTIONS", "PROPFIND", "QUERY", "CONNECT")
        },
        "CONNECT elsewhere": (line("CONNECT evil.example:443 HTTP/1.1"), NO_VERB),
        "overridden": (headers(X_HTTP_Method_Override="DELETE", X_Method_Override="GET"), FORWARDED),
    },
    "a version": {
        **{
            version: (line(f"POST /mcp HTTP/{version}"), HTTP)
            for version in ("0.9", "1.2", "2.0", "3.0", "1.10", "01.1", "1", "1.1x")
        },
        "missing": (line("POST /mcp"), HTTP),
        "in small letters": (line("POST /mcp http/1.1"), HTTP),
        "the preface of HTTP/2": (line("PRI * HTTP/2.0"), HTTP),
        "1.0": (line("POST /mcp HTTP/1.0"), FORWARDED),
    },
    "a first line": {
        "behind a blank": (line(" POST /mcp HTTP/1.1"), HTTP),
        "with tabs": (line("POST\t/mcp\tHTTP/1.1"), HTTP),
        "that ends in a blank": (line("POST /mcp HTTP/1.1 "), HTTP),
        "followed by a fold": (line("POST /mcp HTTP/1.1\r\n X-A: 1"), HTTP),
        "behind an empty one": (line("\r\nPOST /mcp HTTP/1.1"), FORWARDED),
    },
    "for this hop alone": {
        "a named header": (headers(Connection="close, X-Id", X_Id="canary"), FORWARDED),
        "an upgrade to WebSocket": (headers(Connection="close, Upgrade", Upgrade="websocket"), FORWARDED),
        "an upgrade to HTTP/2": (
            headers(Connection="close, Upgrade, HTTP2-Settings", Upgrade="h2c", HTTP2_Settings="AAMAAABkAAQ"),
            FORWARDED,
        ),
        "TE and Trailer": (headers(TE="trailers, gzip", Trailer="X-Canary"), FORWARDED),
        "Keep-Alive": (headers(Keep_Alive="timeout=9", Proxy_Connection="keep-alive"), FORWARDED),
        "credentials": (headers(Proxy_Authorization="Basic Y2FuYXJ5", Cookie="a=canary"), FORWARDED),
        "Max-Forwards": (headers(Max_Forwards="0", Via="1.1 canary"), FORWARDED),
    },
    "a name of another host": {
        "an identity": (headers(X_MCP_Account="eve", X_MCP_Client="evil", X_MCP_Scopes="admin"), FORWARDED),
        "an identity, twice": (headers(X_MCP_Account=["eve", "ada"]), FORWARDED),
        "underscores": (Sent({"X_MCP_Account": "eve", "X_MCP-Account": "eve", "X_Forwarded_User": "eve"}), FORWARDED),
        "of other proxies": (
            headers(X_Forwarded_For="1.2.3.4", X_Forwarded_User="eve", X_Auth_Request_User="eve", X_Real_IP="1.2.3.4"),
            FORWARDED,
        ),
        "of other paths": (headers(X_Original_URL="/admin", X_Rewrite_URL="/admin"), FORWARDED),
        "of another host": (headers(X_Forwarded_Host="evil.example", Forwarded="host=evil.example"), FORWARDED),
        "a request id": (headers(X_Request_Id="canary"), FORWARDED),
    },
    "what is answered here": {
        "Range": (headers(Range="bytes=0-1", If_Range="x"), FORWARDED),
        "an unknown Expect": (headers(Expect="200-ok"), FORWARDED),
        "Expect": (headers(Expect="100-continue"), FORWARDED),
        "Expect in HTTP/1.0": (Sent({"Expect": "100-continue"}, "POST /mcp HTTP/1.0"), FORWARDED),
        "conditions": (headers(If_None_Match="*", If_Modified_Since="Thu, 01 Jan 1970 00:00:00 GMT"), FORWARDED),
        "encodings": (headers(Accept_Encoding="gzip, br", Accept_Charset="utf-7"), FORWARDED),
    },
}


@cases(FRAMING)
async def test_framing(wire: Wire, sent: Sent, outcome: Outcome, revision: str):
    await exchanged(wire, sent, outcome, revision)


@cases(LINES)
async def test_request_lines_and_headers(wire: Wire, sent: Sent, outcome: Outcome, revision: str):
    await exchanged(wire, sent, outcome, revision)


async def exchanged(wire: Wire, sent: Sent, outcome: Outcome, revision: str) -> None:
    body = sent.body(GOOD.body(revision))
    await wire.check(
        await wire.send(wire.request(revision, GOOD, sent.changes, first=sent.first, body=body)), revision, outcome
    )


BODILESS: dict[str, Changes] = {
    "a length": {},
    "chunks": CHUNKED,
    "a length, and it expects": {"Expect": "100-continue"},
}


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("changes", BODILESS.values(), ids=BODILESS)
async def test_a_body_where_none_belongs(wire: Wire, method: str, changes: Changes):
    body = GOOD.body(LEGACY)
    sent = wire.request(
        LEGACY,
        GOOD,
        changes,
        first=f"{method} /mcp HTTP/1.1",
        body=chunks(body) if "Transfer-Encoding" in changes else body,
    )
    await wire.check(await wire.send(sent), LEGACY, HTTP)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_the_stateless_revision_has_only_post(wire: Wire, method: str):
    sent = wire.request(MODERN, GOOD, {"Content-Length": []}, first=f"{method} /mcp HTTP/1.1", body=b"")
    answer = await wire.send(sent)
    await wire.check(answer, MODERN, NO_VERB)
    assert b"\r\nAllow: POST\r\n" in answer


@pytest.mark.parametrize("method", ["PUT", "TRACE", "CONNECT"])
async def test_a_method_that_is_not_served_ends_the_connection(wire: Wire, method: str):
    answer = await wire.send(wire.request(LEGACY, GOOD, {"Connection": []}, first=f"{method} /mcp HTTP/1.1"))
    await wire.check(answer, LEGACY, NO_VERB)
    assert b"\r\nAllow: POST, GET, DELETE\r\n" in answer


async def test_head_is_not_served_either(wire: Wire):
    answer = await wire.send(wire.request(LEGACY, first="HEAD /mcp HTTP/1.1"))
    assert answer.startswith(b"HTTP/1.1 405 ")
    assert answer.endswith(b"\r\n\r\n")  # no answer to HEAD has a body
    assert wire.rig.backend.received == []


@pytest.mark.parametrize("revision", BOTH)
async def test_lines_that_end_in_bare_line_feeds(wire: Wire, revision: str):
    sent = wire.request(revision).replace(b"\r\n", b"\n")
    await wire.check(await wire.send(sent), revision, HTTP)


async def test_a_challenge_never_repeats_values_of_the_request(wire: Wire):
    changes: Changes = {
        "Authorization": [],
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "https",
        "Forwarded": "host=evil.example",
    }
    answer = await wire.post(LEGACY, GOOD, changes)
    await wire.check(answer, LEGACY, Refused(401, "token_missing"))
    metadata = wire.rig.url.replace("/mcp", "/.well-known/oauth-protected-resource/mcp")
    assert f'resource_metadata="{metadata}"'.encode() in answer
    assert b"evil" not in answer
