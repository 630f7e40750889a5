"""Gate 1: check the path, Host, Origin, method, size and version of a request.

Every answer is derived from the configured resource, never from the request: a request line or a
Host header that an attacker chose must not change the documents that this server publishes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Final
from urllib.parse import urlsplit

from sidecar.config.settings.settings import Settings
from sidecar.errors import ErrorCode, Refusal
from sidecar.identity.claims import has_bearer
from sidecar.protocol.headers import check_accept, check_content
from sidecar.protocol.strict.strictjson import dumps
from sidecar.proxy.listener import cors
from sidecar.proxy.listener.answering_connection import ClientRequest
from sidecar.proxy.listener.documents import metadata_paths, resource_metadata
from sidecar.proxy.listener.reply import ClientReply

_VARY: Final = (cors.VARY,)
MCP_METHODS: Final = ("POST", "GET", "DELETE")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
# RFC 9110 section 7.2: a name or a bracketed IPv6 address (group 1), and a port.
_AUTHORITY: Final = re.compile(r"([^\s:/@\[\]]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class RequestFilter:
    """Paths, hosts and origins that this listener serves, computed once from settings and policy.

    Attributes:
        documents: the well-known documents, by path.
        mcp_path: the path of the resource.
        page: the path of the account page; None without one.
        hosts: Host names that are served, with or without a port.
        origins: browser origins that are allowed.
        max_body: bytes of a body.
        max_headers: bytes of all headers.
    """

    documents: Mapping[str, bytes]
    mcp_path: str
    page: str | None
    hosts: frozenset[str]
    origins: frozenset[str]
    max_body: int
    max_headers: int

    @classmethod
    def of(cls, settings: Settings, scopes: Iterable[str]) -> RequestFilter:
        """Derive the paths, documents, Host names and origins.

        Args:
            settings: config.yaml.
            scopes: those that clients can request, as the issuers name them.
        """
        issuers = dict.fromkeys(url for issuer in settings.issuers for url in issuer.advertised)
        document = dumps(resource_metadata(settings.resource, issuers, scopes))
        resource = urlsplit(settings.resource)
        return cls(
            documents=dict.fromkeys(metadata_paths(settings.resource), document),
            mcp_path=resource.path or "/",
            page=None if settings.account_page is None else settings.account_page.path,
            hosts=frozenset({_host_name(resource.netloc), *settings.hosts}),
            # Pages of the resource's own origin are allowed; a rebound name has another origin.
            origins=frozenset({_origin(settings.resource), *settings.origins}),
            max_body=settings.limits.body,
            max_headers=settings.limits.header,
        )

    def answer(self, request: ClientRequest, client: ClientReply) -> bool:
        """Check the origin and the destination of the request; answer requests that need no token.

        Returns:
            True when it is none of MCP: a well-known document and a preflight are answered, and a request to the
            account page is not yet.

        Raises:
            Refusal: the request's version, Host, Origin, path or method is not accepted.
        """
        if request.head.accepted_by is self:
            client.add_headers(_VARY)
            return False
        if request.version not in ((1, 0), (1, 1)):  # the parser lets 0.9 and 2.0 through
            raise Refusal(ErrorCode.REQUEST_MALFORMED, "HTTP/1.1 is required.")
        self._check_host(request)
        # The path as it was sent: decoding or joining it would allow bypasses.
        path = request.raw_path.partition("?")[0]
        if path in self.documents:
            self._document(request, client, self.documents[path])
            return True
        if self.page is not None and f"{path}/".startswith(f"{self.page}/"):
            self._check_envelope(request)  # and no more: the page has rules of its own for origins, and no CORS
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

    def check(self, request: ClientRequest) -> None:
        """Check the HTTP envelope of a message.

        Raises:
            Refusal: its framing, size or media types are not accepted; `token_missing` when the media types are not
                accepted and there is no token: a client that looks for the login may send any.
        """
        if request.head.accepted_by is self:
            if (request.content_length or 0) > self.max_body:
                raise too_large(self.max_body)
            return
        self._check_envelope(request)
        if (request.content_length or 0) > self.max_body:
            raise too_large(self.max_body)
        try:
            fields = request.headers
            accept, types = fields.getall("Accept", ()), fields.getall("Content-Type", ())
            encodings = fields.getall("Content-Encoding", ())
            _check_media_types(request.method, tuple(accept), tuple(types), tuple(encodings))
        except Refusal:
            if not has_bearer(request.headers.getall("Authorization", ())):
                raise Refusal(ErrorCode.TOKEN_MISSING) from None
            raise
        if request.method == "POST" and "Origin" not in request.headers:
            request.head.accepted_by = self

    def _check_envelope(self, request: ClientRequest) -> None:
        _check_framing(request)
        if sum(map(len, chain.from_iterable(request.raw_headers))) > self.max_headers:
            raise Refusal(ErrorCode.REQUEST_MALFORMED, "The headers of this request are too large.")

    def _document(self, request: ClientRequest, client: ClientReply, document: bytes) -> None:
        """Serve a document (RFC 9728 section 3.2), to pages of any origin."""
        for name, value in cors.PUBLIC:
            client.add_header(name, value)
        if request.method == "OPTIONS":
            client.answer(204, (), b"")
            return
        if request.method not in ("GET", "HEAD"):
            raise _wrong_method(client, ("GET", "HEAD"))
        client.answer(200, [("Content-Type", "application/json"), ("Cache-Control", "public, max-age=300")], document)

    def _check_host(self, request: ClientRequest) -> None:
        """Refuse a missing, repeated or foreign Host (DNS rebinding)."""
        values = request.headers.getall("Host", ())
        if len(values) != 1:
            raise Refusal(ErrorCode.REQUEST_MALFORMED, "Exactly one Host header is required.")
        if not _is_served(values[0], self.hosts):
            raise Refusal(ErrorCode.HOST_REFUSED)

    def _check_origin(self, request: ClientRequest, client: ClientReply) -> str | None:
        """Refuse a foreign Origin (MUST since 2025-11-25); every answer to an allowed one can be read by its page.

        Returns:
            The origin; None when there is none, as from clients that are no browsers.
        """
        client.add_header(*cors.VARY)
        if "Origin" not in request.headers:
            return None
        values = request.headers.getall("Origin")
        if len(values) != 1 or values[0] not in self.origins:
            raise Refusal(ErrorCode.ORIGIN_REFUSED)
        for name, value in cors.response_headers(values[0]):
            client.add_header(name, value)
        return values[0]


@lru_cache(64)  # a client sends the same one with every request
def _is_served(authority: str, hosts: frozenset[str]) -> bool:
    """Return True for a Host of which the name, or the name and port, is among those that are served."""
    host = _AUTHORITY.fullmatch(authority.lower())
    return host is not None and not hosts.isdisjoint(host.group(0, 1))


def _check_framing(request: ClientRequest) -> None:
    """Refuse framing that the parser accepts, but other servers read differently or decode."""
    codings = request.headers.getall("Transfer-Encoding") if "Transfer-Encoding" in request.headers else ()
    # RFC 9112 section 6.1: no such header in HTTP/1.0, and only chunked is supported here.
    if codings and (request.version < (1, 1) or [coding.lower() for coding in codings] != ["chunked"]):
        raise Refusal(ErrorCode.REQUEST_MALFORMED, "No transfer coding but chunked is accepted, in HTTP/1.1.")
    if request.method != "POST" and (codings or request.content_length):
        raise Refusal(ErrorCode.REQUEST_MALFORMED, f"A {request.method} has no body.")


@lru_cache(64)  # a refusal is raised, and so not kept
def _check_media_types(
    method: str, accept: tuple[str, ...], types: tuple[str, ...], encodings: tuple[str, ...]
) -> None:
    check_accept(accept, method)
    if method == "POST":
        check_content(types, encodings)


def _wrong_method(client: ClientReply, methods: Sequence[str]) -> Refusal:
    client.add_header("Allow", ", ".join(methods))  # RFC 9110 section 15.5.6
    return Refusal(ErrorCode.HTTP_METHOD_REFUSED)


def too_large(limit: int) -> Refusal:
    """Build the refusal of a body of more than `limit` bytes."""
    return Refusal(ErrorCode.BODY_TOO_LARGE, f"The request body is larger than {limit} bytes.")


def _host_name(authority: str) -> str:
    """Return the name in an authority, without its port; an IPv6 literal keeps its brackets."""
    if authority.startswith("["):
        return authority.partition("]")[0].lower() + "]"
    return authority.partition(":")[0].lower()


def _origin(url: str) -> str:
    parts = urlsplit(url)
    port = parts.port
    suffix = "" if port is None or port == _DEFAULT_PORTS.get(parts.scheme) else f":{port}"
    return f"{parts.scheme}://{_host_name(parts.netloc)}{suffix}"
