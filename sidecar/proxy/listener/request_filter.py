"""Gate 1: where a request goes, and whether its Host, Origin, method, size and version may pass.

Every answer is derived from the configured resource, never from the request: a request line or a
Host header that somebody else chose must not decide what this server says of itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final
from urllib.parse import urlsplit

from aiohttp.web import BaseRequest

from sidecar.config.settings import Limits, Settings
from sidecar.errors import ErrorCode, Refusal
from sidecar.identity.metadata import metadata_paths, resource_metadata
from sidecar.policy.rules import Policy
from sidecar.protocol.headers import check_accept, check_content
from sidecar.protocol.strictjson import dumps
from sidecar.proxy import cors
from sidecar.proxy.client import Client

MCP_METHODS: Final = ("POST", "GET", "DELETE")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
# RFC 9110 section 7.2: a name or a bracketed IPv6 address (group 1), and a port.
_AUTHORITY: Final = re.compile(r"([^\s:/@\[\]]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class Doors:
    """What this listener answers to, computed once from settings and policy.

    Attributes:
        documents: the well-known documents, by path.
        mcp_path: the path of the resource.
        hosts: Host names that are served, with or without a port.
        origins: browser origins that are allowed.
    """

    documents: Mapping[str, bytes]
    mcp_path: str
    hosts: frozenset[str]
    origins: frozenset[str]
    limits: Limits

    @classmethod
    def of(cls, settings: Settings, policy: Policy) -> Doors:
        """Derive the paths, documents, Host names and origins."""
        issuers = [issuer.issuer for issuer in settings.issuers]
        document = dumps(resource_metadata(settings.resource, issuers, policy.scope_names))
        resource = urlsplit(settings.resource)
        return cls(
            documents=dict.fromkeys(metadata_paths(settings.resource), document),
            mcp_path=resource.path or "/",
            hosts=frozenset({_host_name(resource.netloc), *settings.hosts}),
            # A page of the resource's own origin is no stranger; a rebound name has another origin.
            origins=frozenset({_origin(settings.resource), *settings.origins}),
            limits=settings.limits,
        )

    def answer(self, request: BaseRequest, client: Client) -> bool:
        """Check where the request comes from and wants to go; answer what needs no token.

        Returns:
            Whether it was answered: a well-known document or a preflight.

        Raises:
            Refusal: of the request's version, Host, Origin, path or method.
        """
        if request.version not in ((1, 0), (1, 1)):  # the parser lets 0.9 and 2.0 through
            raise Refusal(ErrorCode.REQUEST_MALFORMED, "HTTP/1.1 is required.")
        self._check_host(request)
        # The path as it was sent: decoding or joining it would open side doors.
        path = request.raw_path.partition("?")[0]
        if path in self.documents:
            self._document(request, client, self.documents[path])
            return True
        origin = self._check_origin(request, client)
        if request.method == "CONNECT":  # it names a server, not a path
            raise _wrong_method(client, MCP_METHODS)
        if path != self.mcp_path:
            raise Refusal(ErrorCode.PATH_UNKNOWN)
        if origin is not None and request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            client.answer(204, cors.preflight_headers(request.headers, ", ".join(MCP_METHODS)), b"")
            return True
        if request.method not in MCP_METHODS:
            raise _wrong_method(client, MCP_METHODS)
        return False

    def check(self, request: BaseRequest) -> None:
        """Check what a message comes in.

        Raises:
            Refusal: of its framing, size or media types.
        """
        _check_framing(request)
        if sum(map(len, chain.from_iterable(request.raw_headers))) > self.limits.header:
            raise Refusal(ErrorCode.REQUEST_MALFORMED, "The headers of this request are too large.")
        if (request.content_length or 0) > self.limits.body:
            raise too_large(self.limits.body)
        fields = request.headers
        check_accept(fields.getall("Accept", ()), request.method)
        if request.method == "POST":
            check_content(fields.getall("Content-Type", ()), fields.getall("Content-Encoding", ()))

    def _document(self, request: BaseRequest, client: Client, document: bytes) -> None:
        """RFC 9728 section 3.2; readable by pages of any origin."""
        for name, value in cors.PUBLIC:
            client.add_header(name, value)
        if request.method == "OPTIONS":
            client.answer(204, (), b"")
            return
        if request.method not in ("GET", "HEAD"):
            raise _wrong_method(client, ("GET", "HEAD"))
        client.answer(200, [("Content-Type", "application/json"), ("Cache-Control", "public, max-age=300")], document)

    def _check_host(self, request: BaseRequest) -> None:
        """Refuse a missing, repeated or foreign Host (DNS rebinding)."""
        values = request.headers.getall("Host", ())
        if len(values) != 1:
            raise Refusal(ErrorCode.REQUEST_MALFORMED, "Exactly one Host header is required.")
        host = _AUTHORITY.fullmatch(values[0].lower())
        if host is None or self.hosts.isdisjoint(host.group(0, 1)):
            raise Refusal(ErrorCode.HOST_REFUSED)

    def _check_origin(self, request: BaseRequest, client: Client) -> str | None:
        """Refuse a foreign Origin (MUST since 2025-11-25); every answer to an allowed one can be read by its page.

        Returns:
            The origin; None when there is none, as from everything that is no browser.
        """
        client.add_header(*cors.VARY)
        values = request.headers.getall("Origin", ())
        if not values:
            return None
        if len(values) != 1 or values[0] not in self.origins:
            raise Refusal(ErrorCode.ORIGIN_REFUSED)
        for name, value in cors.response_headers(values[0]):
            client.add_header(name, value)
        return values[0]


def _check_framing(request: BaseRequest) -> None:
    """Refuse what the parser frames, but other servers frame differently or decode."""
    codings = request.headers.getall("Transfer-Encoding", ())
    # RFC 9112 section 6.1: no such header in HTTP/1.0, and nothing but chunks is understood here.
    if codings and (request.version < (1, 1) or [coding.lower() for coding in codings] != ["chunked"]):
        raise Refusal(ErrorCode.REQUEST_MALFORMED, "No transfer coding but chunked is accepted, in HTTP/1.1.")
    if request.method != "POST" and (codings or request.content_length):
        raise Refusal(ErrorCode.REQUEST_MALFORMED, f"A {request.method} has no body.")


def _wrong_method(client: Client, methods: Sequence[str]) -> Refusal:
    client.add_header("Allow", ", ".join(methods))  # RFC 9110 section 15.5.6
    return Refusal(ErrorCode.HTTP_METHOD_REFUSED)


def too_large(limit: int) -> Refusal:
    """The refusal of a body of more than `limit` bytes."""
    return Refusal(ErrorCode.BODY_TOO_LARGE, f"The request body is larger than {limit} bytes.")


def _host_name(authority: str) -> str:
    """The name in an authority, without its port; an IPv6 literal keeps its brackets."""
    if authority.startswith("["):
        return authority.partition("]")[0].lower() + "]"
    return authority.partition(":")[0].lower()


def _origin(url: str) -> str:
    parts = urlsplit(url)
    port = parts.port
    suffix = "" if port is None or port == _DEFAULT_PORTS.get(parts.scheme) else f":{port}"
    return f"{parts.scheme}://{_host_name(parts.netloc)}{suffix}"
