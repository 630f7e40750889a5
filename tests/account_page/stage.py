"""A sidecar with an account page, its issuer, and browsers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sidecar.trial.issuer import TrialIssuer
from tests.account_page.browser import Browser, Page
from tests.support.rig import Reply, Rig

SCOPES = ("usage:read", "stores:read", "contacts:search", "contacts:reveal")


@dataclass(slots=True)
class Stage:
    """Everything of one test.

    Attributes:
        base: origin of the sidecar.
    """

    rig: Rig
    trial: TrialIssuer
    base: str

    def browser(self) -> Browser:
        """A browser without cookies."""
        return Browser(self.rig.http, self.base)

    async def logged_in(self, person: str = "ada") -> Browser:
        """A browser whose person is logged in."""
        self.trial.person = person
        browser = self.browser()
        page = await browser.get("/account/login")
        assert page.status == 200, page.text
        assert "Your account" in page.text, page.text
        return browser

    def token(self, **claims: Any) -> str:
        """An access token for the MCP endpoint."""
        return self.trial.mint(**{"subject": "ada", "client_id": "cli-1", **claims})

    async def call(self, tool: str, arguments: dict[str, Any] | None = None, **claims: Any) -> Reply:
        """Call a tool as Ada's client."""
        return await self.rig.call(tool, arguments, token=self.token(**claims))


def assert_safe(page: Page) -> None:
    """Every page has the headers that keep other sites out."""
    headers = page.headers
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'self'; form-action 'self'")
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert "Access-Control-Allow-Origin" not in headers
    assert all(tag not in ("script", "iframe", "object") for tag, _ in page.tags if page.body)
