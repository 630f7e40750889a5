"""Faults of proxies and authorization servers, each with the findings that it must cause."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

from tests.doctor.front import Forwarded, Planted, Returned

CHALLENGE = "WWW-Authenticate"
WELL_KNOWN = "/.well-known/oauth-protected-resource"


@dataclass(frozen=True, slots=True)
class Case:
    """A fault of the proxy.

    Attributes:
        planted: the fault.
        found: severity and check of all findings that are neither `ok` nor `unchecked`.
        says: a part of one of these findings.
        fix: a part of its fix.
        streams: it is about streams, so the backend has them.
    """

    planted: Planted
    found: frozenset[str]
    says: str
    fix: str
    streams: bool = False


def case(planted: Planted, found: str, says: str, fix: str) -> Case:
    return Case(planted, frozenset(found.split(", ")), says, fix, planted.buffers or planted.compresses)


# --- changes -----------------------------------------------------------------------------------


def answer(change: Callable[[Returned], object]) -> Planted:
    return Planted(answer=change)


def request(change: Callable[[Forwarded], object]) -> Planted:
    return Planted(request=change)


def without(*names: str) -> Planted:
    """Drop headers of answers."""
    return answer(lambda returned: [returned.headers.popall(name, None) for name in names])


def unsent(*names: str) -> Planted:
    """Drop headers of requests."""
    return request(lambda sent: [sent.headers.popall(name, None) for name in names])


def challenge(change: Callable[[str], str]) -> Planted:
    def run(returned: Returned) -> None:
        if CHALLENGE in returned.headers:
            returned.headers[CHALLENGE] = change(returned.headers[CHALLENGE])

    return Planted(answer=run)


def document(change: Callable[[dict[str, Any]], object], path: str = WELL_KNOWN) -> Planted:
    """Change the metadata at all paths that begin so."""

    def run(returned: Returned) -> None:
        if returned.path.startswith(path) and returned.status == 200 and returned.body:
            content = json.loads(returned.body)
            change(content)
            returned.body = json.dumps(content).encode()

    return Planted(answer=run)


def resource(change: Callable[[str], str], path: str = WELL_KNOWN) -> Planted:
    return document(lambda content: content.update(resource=change(content["resource"])), path)


def become(status: int, body: bytes = b"", *, of: int | None = None, path: str = "/", **headers: str) -> Planted:
    """Replace answers, perhaps those of one status or one path only."""

    def run(returned: Returned) -> None:
        if returned.path.startswith(path) and of in (None, returned.status):
            returned.status, returned.body = status, body
            returned.headers.popall("Content-Type", None)
            returned.headers.popall(CHALLENGE, None)
            returned.headers.update(headers)

    return Planted(answer=run)


def moved(sent: Forwarded, path: str) -> None:
    sent.path = path if sent.path == "/mcp" else sent.path


def no_preflight(sent: Forwarded) -> None:
    sent.headers.popall("Access-Control-Request-Method", None)


def skewed(returned: Returned) -> None:
    returned.headers["Date"] = format_datetime(datetime.now(UTC) + timedelta(minutes=3), usegmt=True)


def only_root(change: Callable[[str], str]) -> Planted:
    def run(returned: Returned) -> None:
        if returned.path == WELL_KNOWN and returned.body:
            content = json.loads(returned.body)
            content["resource"] = change(content["resource"])
            returned.body = json.dumps(content).encode()

    return Planted(answer=run)


ALL_LOST = "fail challenge, fail metadata, fail cors, fail token"
MCP_LOST = "fail challenge, fail cors, fail token"
PAGE = b"<!doctype html>"

CASES: dict[str, Case] = {
    # --- challenge
    "the challenge is stripped": case(
        without(CHALLENGE), "fail challenge", "401 without WWW-Authenticate", "pass WWW-Authenticate"
    ),
    "the proxy asks for a password, too": case(
        challenge(lambda value: f'Basic realm="staff", {value}'),
        "fail challenge",
        "the first challenge is Basic",
        "remove the proxy's own authentication",
    ),
    "a value has the name of a parameter": case(
        challenge(lambda value: value.replace("Bearer ", 'Bearer error_description="no scope=x", ', 1)),
        "fail challenge",
        "official clients read scope as x",
        "put scope before error_description",
    ),
    "the challenge is cut": case(
        challenge(lambda value: value[:-1]), "fail challenge", "malformed (RFC 9110 section 11.6.1)", "unchanged"
    ),
    "the metadata's place is removed": case(
        challenge(lambda value: re.sub('resource_metadata="[^"]*"', 'realm="x"', value)),
        "fail challenge",
        "no resource_metadata",
        "pass WWW-Authenticate",
    ),
    "the metadata's place is an inner one": case(
        challenge(lambda value: value.replace("http://127.0.0.1", "http://sidecar.internal")),
        "fail challenge",
        "resource_metadata=http://sidecar.internal",
        "set `resource` to the public URL",
    ),
    "the sidecar is bypassed": case(
        become(200, b"{}", of=401),
        "fail challenge, fail routing, fail cors",
        "answered 200 without a token: anyone can call",
        "route the URL to the sidecar",
    ),
    # --- routing
    "request ids are stripped": case(
        without("X-Request-Id"), "warn routing", "arrives without X-Request-Id", "pass X-Request-Id"
    ),
    "error pages are replaced": case(
        become(401, PAGE, of=401),
        "fail challenge, fail routing",
        "this 401 is not the sidecar's",
        "error pages",
    ),
    "Host is replaced": case(
        request(lambda sent: sent.headers.update(Host="sidecar.internal")),
        ALL_LOST,
        "the sidecar gets another Host",
        "proxy_set_header Host $host",
    ),
    "the path is stripped": case(
        request(lambda sent: moved(sent, "/")), MCP_LOST, "the sidecar gets another path", "pass the path unchanged"
    ),
    "a slash is appended": case(
        request(lambda sent: moved(sent, "/mcp/")), MCP_LOST, "the sidecar gets another path", "byte for byte"
    ),
    "a redirect appends a slash": case(
        become(308, of=401, path="/mcp", Location="https://mcp.example.com/mcp/"),
        "fail challenge, fail cors",
        "a redirect to https://mcp.example.com/mcp/",
        "the URL that needs no redirect",
    ),
    "the proxy has no upstream": case(
        become(502, PAGE), ALL_LOST, "answered 502: the sidecar is not reached", "the proxy's upstream"
    ),
    "a firewall answers": case(become(403, PAGE, of=401), "fail challenge, fail cors", "answered 403", "firewall"),
    "Authorization is dropped": case(
        unsent("Authorization"),
        "fail routing, fail token",
        "Authorization does not arrive",
        "let the proxy pass Authorization",
    ),
    "Authorization is added": case(
        request(lambda sent: sent.headers.setdefault("Authorization", "Bearer proxy")),
        "warn challenge",
        "a proxy adds an Authorization header",
        "add none",
    ),
    "MCP headers are dropped": case(
        unsent("Mcp-Method"), "fail routing", "the sidecar misses MCP headers", "pass Mcp-Method"
    ),
    "the session is dropped on the way in": case(
        unsent("Mcp-Session-Id"), "fail routing", "Mcp-Session-Id is lost", "in both directions"
    ),
    "the session is dropped on the way out": case(
        without("Mcp-Session-Id"), "fail routing", "Mcp-Session-Id is lost", "in both directions"
    ),
    # --- metadata
    "well-known paths are not routed": case(
        become(404, path="/.well-known/"), "fail metadata, warn metadata", "answered 404", "/.well-known/ included"
    ),
    "a page is served for every path": case(
        become(200, PAGE, path="/.well-known/"), "fail metadata", "no JSON object", "route /.well-known/"
    ),
    "the resource has a slash": case(
        resource(lambda url: f"{url}/"),
        "fail metadata, warn metadata",
        "a slash at the end, which is another",
        "`resource`",
    ),
    "the resource has another scheme": case(
        resource(lambda url: url.replace("http:", "https:")),
        "fail metadata",
        "another scheme",
        "set `resource` to http",
    ),
    "the resource has another host": case(
        resource(lambda url: url.replace("127.0.0.1", "localhost")), "fail metadata", "another host", "set `resource`"
    ),
    "the resource has another path": case(
        resource(lambda url: url.replace("/mcp", "/")), "fail metadata, warn metadata", "another path", "set `resource`"
    ),
    "the root document is another's": case(
        only_root(lambda url: f"{url}-other"), "warn metadata", "/mcp-other, not", "set `resource`"
    ),
    "the two documents differ": case(
        document(lambda content: content.update(scopes_supported=[]), f"{WELL_KNOWN}/mcp"),
        "fail metadata",
        "the documents of this resource differ",
        "purge caches",
    ),
    "no issuer is announced": case(
        document(lambda content: content.pop("authorization_servers")),
        "fail metadata",
        "no authorization_servers",
        "`advertise`",
    ),
    "the metadata is sent as text": case(
        answer(
            lambda returned: (
                returned.path.startswith("/.well") and returned.headers.update({"Content-Type": "text/plain"})
            )
        ),
        "warn metadata",
        "Content-Type text/plain",
        "pass Content-Type",
    ),
    # --- pages
    "preflights do not arrive": case(
        request(no_preflight), "fail cors", "preflight from", "pass POST, GET, DELETE and OPTIONS"
    ),
    "two parties answer CORS": case(
        answer(lambda returned: returned.headers.add("Access-Control-Allow-Origin", "*")),
        "fail cors",
        "has two values",
        "remove the proxy's own",
    ),
    "CORS allows any header but Authorization": case(
        answer(lambda returned: returned.headers.update({"Access-Control-Allow-Headers": "*"})),
        "fail cors",
        "does not allow authorization",
        "let only the sidecar answer CORS",
    ),
    "CORS exposes nothing": case(
        without("Access-Control-Expose-Headers"), "fail cors", "cannot read www-authenticate, mcp-session-id", "CORS"
    ),
    "Origin is dropped": case(
        unsent("Origin"), "fail cors, warn cors", "the guard against pages of other sites is off", "pass Origin"
    ),
    # --- clock and stream
    "the clock is wrong": case(answer(skewed), "fail clock", "s ahead, more than `leeway` allows", "NTP"),
    "streams are buffered": case(Planted(buffers=True), "fail stream", "nothing arrived in 1 s", "proxy_buffering off"),
    "streams are compressed": case(
        Planted(compresses=True), "fail stream", "a proxy compresses the stream (gzip)", "gzip off"
    ),
}
"""Faults of the proxy, by name."""

LIES: dict[str, tuple[dict[str, Any], frozenset[str], str, str]] = {
    "no PKCE": (
        {"code_challenge_methods_supported": None},
        frozenset({"fail pkce"}),
        "code_challenge_methods_supported is absent",
        "enable PKCE with S256",
    ),
    "plain PKCE": ({"code_challenge_methods_supported": ["plain"]}, frozenset({"fail pkce"}), '["plain"]', "S256"),
    "another issuer": (
        {"issuer": "https://login.example.com"},
        frozenset({"fail issuer"}),
        "its metadata says issuer https://login.example.com",
        "the same bytes",
    ),
    "no registration": (
        {"registration_endpoint": None},
        frozenset({"warn registration"}),
        "none is announced",
        "client id metadata documents",
    ),
    "registration elsewhere": (
        {"registration_endpoint": "http://login.example.com/register"},
        frozenset({"fail registration"}),
        "is no https:// URL",
        "authorization server",
    ),
    "no login": (
        {"authorization_endpoint": None},
        frozenset({"fail issuer"}),
        "authorization_endpoint is null",
        "authorization server",
    ),
    "no code": ({"response_types_supported": ["token"]}, frozenset({"fail issuer"}), "without code", "server"),
    "confidential clients only": (
        {"token_endpoint_auth_methods_supported": ["client_secret_basic"]},
        frozenset({"warn issuer"}),
        "without none",
        "public clients",
    ),
}
"""Changes of the authorization server's metadata, by name, with what they cause."""
