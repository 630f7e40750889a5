"""Header lines about a message, a token or a body: read like simple readers do, or refused."""

from __future__ import annotations

import email.message
import re
from collections.abc import Callable
from random import Random
from typing import Final, ParamSpec, TypeVar

from mcp.shared.inbound import decode_header_value

from sidecar.errors import ErrorCode, Refusal
from sidecar.identity import claims
from sidecar.identity.jwt import jwt_claims
from sidecar.protocol import headers
from sidecar.proxy.backend.forwarding import trace

SNIPPETS: Final = (
    *(b"Mcp-Name: a\r\n", b"mcp-name: b\r\n", b"Mcp-Method: tools/call\r\n", b"MCP-Protocol-Version: 2026-07-28\r\n"),
    *(b"Mcp-Session-Id: s\r\n", b"Mcp-Param-X: 1\r\n", b"Mcp_Name: c\r\n", b"=?base64?YQ==?=", b"=?BASE64?YQ==?="),
    *(b"=?base64?", b"?=", b"YQ==", b"YR==", b"w6k=", b"/w==", b"Content-Type: application/json\r\n"),
    *(b"; charset=utf-8", b'; charset="utf-7"', b"Content-Encoding: gzip\r\n", b"Accept: */*\r\n", b";q=0", b";q=0.0"),
    *(b"text/event-stream", b"application/json", b"Authorization: Bearer a.b.c\r\n", b"Authorization: ", b"bearer "),
    *(b"Basic ", b"\r\n", b": ", b"\t", b" ", b",", b";", b"\xff", b"\xc3\xa9", b"\0", b"\x7f", b"=", b'"', b"*"),
    *(b"Last-Event-ID: 7\r\n", b"traceparent: ", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
)
Fields = list[tuple[str, str]]
P = ParamSpec("P")
T = TypeVar("T")


def check(data: bytes, _: Random) -> None:
    """Read the lines as the pipeline gets them: Latin-1 names and values, without what ends lines."""
    fields: Fields = []
    for line in re.split("\r\n|\r|\n", data.decode("utf-8", "surrogateescape")):
        name, separator, value = line.partition(":")
        if separator:
            fields.append((name, value.strip(" \t")))
    _check_mirrors(fields)
    _check_content(_values(fields, "content-type"), _values(fields, "content-encoding"))
    _check_accept(_values(fields, "accept"))
    _check_token(_values(fields, "authorization"))
    for value in _values(fields, "traceparent"):
        trace_id, made = trace(value, "5" * 32)
        assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", made)
        assert made.split("-")[1] == trace_id
        assert made != value


def attempt(read: Callable[P, T], *args: P.args, **keywords: P.kwargs) -> T | Refusal:
    """Return the parsed fields, or the reason of the refusal."""
    try:
        return read(*args, **keywords)
    except Refusal as refusal:
        return refusal


def _values(fields: Fields, name: str) -> list[str]:
    return [value for key, value in fields if key.lower() == name]


def _check_mirrors(fields: Fields) -> None:
    ours = [(name.lower(), value) for name, value in fields if re.match("(?i)mcp-|last-event-id$", name)]
    said = dict(ours)
    doubtful = len(said) < len(ours) or not all(re.fullmatch("[ -~]*", value) for value in said.values())
    sent = said.get("mcp-name")
    read = attempt(headers.read, fields)
    if isinstance(read, Refusal):
        assert read.code is ErrorCode.HEADER_MISMATCH
        assert doubtful or (sent is not None and sent.lower().startswith("=?base64?"))
        return
    assert not doubtful
    assert read.name == (decode_header_value(sent) if sent is not None else None)
    assert (read.version, read.method) == (said.get("mcp-protocol-version"), said.get("mcp-method"))
    assert (read.session, read.last_event_id) == (said.get("mcp-session-id"), said.get("last-event-id"))
    assert [value for _, value in read.params] == [value for name, value in ours if name.startswith("mcp-param-")]
    if read.name is not None:
        written = headers.encode(read.name)
        assert re.fullmatch("[!-~]([ -~]*[!-~])?", written)
        assert headers.read([("Mcp-Name", written)]).name == read.name


def _check_content(types: list[str], encodings: list[str]) -> None:
    refused = attempt(headers.check_content, types, encodings)
    if refused is not None:
        assert refused.code is ErrorCode.MEDIA_TYPE_UNSUPPORTED
        return
    assert not encodings
    (only,) = types
    parsed = email.message.Message()
    parsed["Content-Type"] = only
    assert parsed.get_content_type() == "application/json"
    parameters = parsed.get_params() or []
    assert {name.lower(): value.lower() for name, value in parameters[1:]} in ({}, {"charset": "utf-8"})


def _check_accept(values: list[str]) -> None:
    refused = attempt(headers.check_accept, values, "POST")
    if refused is not None:
        assert refused.code is ErrorCode.NOT_ACCEPTABLE
        return
    accepted = ",".join(values).lower()
    assert any(media in accepted for media in ("text/event-stream", "text/*", "*/*"))
    assert any(media in accepted for media in ("application/json", "application/*", "*/*"))


def _check_token(values: list[str]) -> None:
    token = attempt(claims.bearer, values)
    if isinstance(token, Refusal):
        assert token.code in (ErrorCode.TOKEN_MISSING, ErrorCode.TOKEN_INVALID)
        return
    (only,) = values
    scheme, _, rest = only.strip(" \t").partition(" ")
    assert (scheme.lower(), rest.lstrip(" ")) == ("bearer", token)
    read = attempt(jwt_claims.read, token)
    if isinstance(read, Refusal):
        assert read.code is ErrorCode.TOKEN_INVALID
        assert token not in f"{read.detail}{read.log}" or len(token) < 8
