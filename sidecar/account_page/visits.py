"""Visit: one request to the account page, with everything that its handler needs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Final

from sidecar.account_page.login.login_flow import LoginFlow
from sidecar.account_page.login.page_sessions import PageSession
from sidecar.account_page.pages.page_frame import Site
from sidecar.account_page.web.browser_request import BrowserRequest
from sidecar.config.settings.account_page_settings import AccountPageSettings
from sidecar.config.settings.settings import IssuerSettings, Settings
from sidecar.identity.issuers import IssuerRegistry
from sidecar.identity.login.holders import LoginIssuer
from sidecar.policy.rules import Policy
from sidecar.store.store import Store

STYLE: Final = (files("sidecar.account_page") / "style.css").read_bytes()
"""The style sheet."""
STYLE_PLACE: Final = "style.css"
_VERSION: Final = hashlib.sha256(STYLE).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class ServedPage:
    """Page of one config.

    Attributes:
        settings: of the page.
        issuer: the issuer that people log in at.
        site: addresses.
        flow: of its logins.
    """

    settings: AccountPageSettings
    issuer: IssuerSettings
    site: Site
    flow: LoginFlow

    @classmethod
    def of(cls, config: Settings, settings: AccountPageSettings, issuers: IssuerRegistry, store: Store) -> ServedPage:
        """Return the page of a config."""
        issuer = settings.issuer_of(config.issuers)
        flow = LoginFlow(settings, config.resource, LoginIssuer(issuer, issuers), store)
        return cls(settings, issuer, _site(settings, config.resource), flow)

    def serves(self, config: Settings) -> bool:
        """Return whether it is the page of this config, too."""
        settings = config.account_page
        same = settings == self.settings and config.resource == self.site.resource
        return same and settings is not None and settings.issuer_of(config.issuers) == self.issuer


def _site(settings: AccountPageSettings, resource: str) -> Site:
    return Site(settings.path, resource, f"{settings.path}/{STYLE_PLACE}?v={_VERSION}")


@dataclass(frozen=True, slots=True)
class Visit:
    """Request to the page.

    Attributes:
        page: of the config that the request keeps.
        request: of the browser.
        policy: in force.
        reference: id of the request, for the operator.
        form: fields of a form.
        session: of the holder; None without one.
    """

    page: ServedPage
    request: BrowserRequest
    policy: Policy
    reference: str
    form: Mapping[str, str] = field(default_factory=dict)
    session: PageSession | None = None

    @property
    def site(self) -> Site:
        """Addresses of the page."""
        return self.page.site

    @property
    def place(self) -> str:
        """Path below the page."""
        return self.request.place
