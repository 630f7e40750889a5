"""Answers of the account page, with the headers that every one of them has."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from sidecar.account_page.web.markup import Markup, render

Headers = tuple[tuple[str, str], ...]

POLICY: Final = "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
"""`Content-Security-Policy`: no script, no frame, nothing of another origin."""

SECURITY: Final[Headers] = (
    ("Content-Security-Policy", POLICY),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
_NO_STORE: Final = ("Cache-Control", "no-store")


@dataclass(frozen=True, slots=True)
class PageAnswer:
    """Answer to a browser.

    Attributes:
        status: HTTP status.
        body: its whole body.
        headers: in addition to those of all answers.
        cookie: value of `Set-Cookie`; one at most.
        stored: True when browsers may keep it.
    """

    status: int
    body: bytes = b""
    headers: Headers = ()
    cookie: str | None = field(default=None, repr=False)
    stored: bool = False

    @property
    def head(self) -> Headers:
        """All headers."""
        always = SECURITY if self.stored else (*SECURITY, _NO_STORE)
        cookie = () if self.cookie is None else (("Set-Cookie", self.cookie),)
        return (*self.headers, *always, *cookie)


def html(document: Markup, status: int = 200, *, cookie: str | None = None, headers: Headers = ()) -> PageAnswer:
    """Answer with a page."""
    body = render(Markup("<!doctype html>"), document).encode("utf-8", "replace")
    return PageAnswer(status, body, (("Content-Type", "text/html; charset=utf-8"), *headers), cookie)


def redirect(location: str, *, cookie: str | None = None) -> PageAnswer:
    """Send the browser to another page by GET (RFC 9110 section 15.4.4), so that going back repeats no change."""
    return PageAnswer(303, headers=(("Location", location),), cookie=cookie)


def stylesheet(data: bytes) -> PageAnswer:
    """Answer with the style sheet; its address changes with its content."""
    kept = ("Cache-Control", "public, max-age=86400")
    return PageAnswer(200, data, (("Content-Type", "text/css; charset=utf-8"), kept), stored=True)


def download(name: str, kind: str, parts: Iterable[str]) -> PageAnswer:
    """Answer with a file to save.

    Args:
        name: of the file: letters, digits, dots and hyphens.
        kind: media type.
        parts: its text.
    """
    headers = (("Content-Type", f"{kind}; charset=utf-8"), ("Content-Disposition", f'attachment; filename="{name}"'))
    return PageAnswer(200, "".join(parts).encode("utf-8", "replace"), headers)
