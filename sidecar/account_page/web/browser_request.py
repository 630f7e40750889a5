"""Request of a browser: its cookies, query and form fields, each read once, in linear time and within limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from sidecar.proxy.listener.answering_connection import ClientRequest

MAX_FORM: Final = 16 * 1024
"""Bytes of a form."""
MAX_FIELDS: Final = 32
"""Fields of a form, and parameters of a query."""
MAX_QUERY: Final = 8 * 1024
"""Characters of a query; an authorization code may have some thousand."""

_FORM_TYPE: Final = "application/x-www-form-urlencoded"
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class BadRequestError(Exception):
    """Request that no form or link of the page makes; the message is a sentence for people."""


class ForeignFormError(Exception):
    """Form that another site has sent."""


@dataclass(frozen=True, slots=True)
class BrowserRequest:
    """Request with what the pages need of it.

    Attributes:
        method: `GET`, `HEAD` or `POST`.
        place: path below the page, without slashes around it; empty for the page itself.
        query: parameters by name; each once.
        cookies: values by name; of a repeated name the first.
        origin: value of `Origin`; None without it.
        site: value of `Sec-Fetch-Site`; None without it.
        peer: address of the connection; empty for a Unix socket.
    """

    method: str
    place: str
    query: Mapping[str, str]
    cookies: Mapping[str, str]
    origin: str | None
    site: str | None
    peer: str

    @classmethod
    def of(cls, request: ClientRequest, path: str) -> BrowserRequest:
        """Read a request to the page at a path.

        Raises:
            BadRequestError: the address is not ASCII (RFC 3986 section 2), or its query is too long, has too many
                parameters, or repeats one.
        """
        if not request.raw_path.isascii():
            raise BadRequestError("This address is malformed.")
        asked, _, query = request.raw_path.partition("?")
        headers = request.headers
        return cls(
            method=request.method,
            place=asked[len(path) :].strip("/"),
            query=pairs(query, MAX_QUERY),
            cookies=_cookies(headers.getall("Cookie", ())),
            origin=headers.get("Origin"),
            site=headers.get("Sec-Fetch-Site"),
            peer=_peer(request),
        )

    def check_own_form(self, resource: str) -> None:
        """Refuse a form of another site.

        Under `Referrer-Policy: no-referrer` browsers send `Origin: null` with a page's own forms (Fetch, append a
        request `Origin` header), so `Sec-Fetch-Site` decides then. The form's own token is checked in any case.

        Raises:
            ForeignFormError: the form is, or may be, of another site.
        """
        if self.origin == origin_of(resource):
            return
        if self.origin not in (None, "null") or self.site != "same-origin":
            raise ForeignFormError


def pairs(text: str, limit: int) -> dict[str, str]:
    """Return form-urlencoded parameters.

    Args:
        text: encoded.
        limit: its most characters.

    Raises:
        BadRequestError: it is too long, not UTF-8, has too many parameters, or repeats one (RFC 6749 section 3.1).
    """
    if len(text) > limit:
        raise BadRequestError("This address or form is too long.")
    try:
        listed = parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict")
    except ValueError:
        raise BadRequestError("This address or form is malformed.") from None
    found = dict(listed)
    if len(found) != len(listed):
        raise BadRequestError("This address or form repeats a parameter.")
    return found


def check_form_type(types: Sequence[str]) -> None:
    """Refuse a body that is not an urlencoded form.

    Raises:
        BadRequestError: it is none.
    """
    if len(types) != 1 or types[0].partition(";")[0].strip().lower() != _FORM_TYPE:
        raise BadRequestError("Only forms of this page are accepted.")


def origin_of(url: str) -> str:
    """Return the origin of a URL, as browsers write it (RFC 6454 section 6.2)."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    shown = f"[{host}]" if ":" in host else host
    port = parts.port
    return f"{parts.scheme}://{shown}{'' if port in (None, _DEFAULT_PORTS.get(parts.scheme)) else f':{port}'}"


def _cookies(values: Sequence[str]) -> dict[str, str]:
    """Return the cookies of a request (RFC 6265 section 4.2.1); a name in two spellings is two names."""
    found: dict[str, str] = {}
    for value in values:
        for pair in value.split(";"):
            name, sign, content = pair.strip().partition("=")
            if sign:
                found.setdefault(name, content)
    return found


def _peer(request: ClientRequest) -> str:
    transport = request.connection.transport
    name = None if transport is None else transport.get_extra_info("peername")
    return str(name[0]) if isinstance(name, tuple) and name else ""
