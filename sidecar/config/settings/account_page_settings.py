"""Settings of the account page: its path, and the login of account holders at an issuer."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import PlainValidator, WithJsonSchema

from sidecar.config.documents.merging import Model
from sidecar.config.settings.issuer_access import Finding
from sidecar.config.settings.issuer_settings import IssuerSettings
from sidecar.config.settings.scalars import Secret
from sidecar.config.settings.token_settings import ClientId, Scopes

OPENID: Final = "openid"
"""Scope of every login (OpenID Connect Core 1.0 section 3.1.2.1)."""
CALLBACK: Final = "callback"
"""Last segment of the redirect URI."""

# RFC 3986 section 2.3: unreserved characters only, so that no program on the way writes the path differently.
_PATH: Final = r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+"
_MAX_PATH: Final = 255
_WELL_KNOWN: Final = "/.well-known"


def _page_path(value: object) -> str:
    if not isinstance(value, str) or len(value) > _MAX_PATH or re.fullmatch(_PATH, value) is None:
        raise ValueError("not a path of the page; a path such as /account, without a slash at its end")
    return value


_PagePath = Annotated[str, PlainValidator(_page_path), WithJsonSchema({"type": "string", "pattern": f"^{_PATH}$"})]


class AccountPageSettings(Model):
    """Page on which account holders see their account, and end connections; on the public listener."""

    path: _PagePath = "/account"
    """Path of the page on the host of `resource`; its redirect URI is `PATH/callback`."""
    issuer: str | None = None
    """`id` of the issuer that people log in at; required with several issuers."""
    client_id: ClientId
    """The page's client id at that issuer; its redirect URI is the page's address with `/callback`."""
    client_secret: Secret | None = None
    """The secret of that client; without one it is a public client with PKCE."""
    scopes: Scopes = (OPENID,)
    """Scopes of the login; `openid` is always among them. Add the one that brings the account claim, if any."""

    def issuer_of(self, issuers: Sequence[IssuerSettings]) -> IssuerSettings:
        """Return the issuer that people log in at; `page_findings` has found that there is one."""
        return next((each for each in issuers if each.id == self.issuer), issuers[0])

    @property
    def requested(self) -> tuple[str, ...]:
        """Scopes to request."""
        return tuple(dict.fromkeys((OPENID, *self.scopes)))

    def url(self, resource: str) -> str:
        """Return the address of the page, derived from the resource."""
        return urlsplit(resource)._replace(path=self.path).geturl()

    def redirect_uri(self, resource: str) -> str:
        """Return the redirect URI to register at the issuer."""
        return f"{self.url(resource)}/{CALLBACK}"


def page_findings(page: AccountPageSettings, resource: str, issuers: Sequence[IssuerSettings]) -> Iterator[Finding]:
    """Yield the conflicts of the page with the resource and the issuers.

    Args:
        page: its settings.
        resource: the configured resource.
        issuers: the configured issuers.
    """
    own = urlsplit(resource).path.rstrip("/")
    if own and _overlap(page.path, own):
        yield ("path",), "overlaps the path of `resource`", "a path that neither contains it nor is below it"
    if _overlap(page.path.lower(), _WELL_KNOWN):
        yield ("path",), "overlaps the well-known documents", "a path outside of /.well-known"
    ids = [each.id for each in issuers]
    if page.issuer is None and len(issuers) > 1:
        yield ("issuer",), "missing, although there are several issuers", f"one of {', '.join(ids)}"
    elif page.issuer is not None and page.issuer not in ids:
        yield ("issuer",), "not the id of an issuer", f"one of {', '.join(ids)}"
    elif not page.issuer_of(issuers).signs:
        yield ("issuer",), "an issuer without keys, so that no ID token can be verified", "an issuer with keys"


def _overlap(one: str, other: str) -> bool:
    """Return whether one path is the other, or is below it."""
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")
