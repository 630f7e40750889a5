"""Login at the issuer: redirect with PKCE, `state` and `nonce`, and the callback (RFC 6749, RFC 7636, RFC 9207)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

import orjson

from sidecar.account_page.login.page_sessions import browser_secret
from sidecar.config.settings.account_page_settings import AccountPageSettings
from sidecar.identity.login.holders import CodeExchange, Holder, LoginIssuer
from sidecar.identity.login.login_endpoints import LoginError, LoginFault
from sidecar.store.commands.page_logins import begin_login, take_login, taken_login
from sidecar.store.store import Store

MAX_CODE: Final = 4096
"""Characters of an authorization code."""
# Every other place would make the login a redirector, or a circle of logins.
_PLACE: Final = re.compile(r"(?:clients|journal|connect|confirm(?:/[0-9a-f]{32})?)?", re.ASCII)
_STATE: Final = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
_ERROR: Final = re.compile(r"[a-z_]{1,64}", re.ASCII)  # RFC 6749 section 4.1.2.1; the page shows it


class UnknownLoginError(Exception):
    """Callback without a pending login of this browser: forged, repeated, expired, or begun in another browser."""


class DeclinedLoginError(Exception):
    """Answer of the issuer that the login did not succeed; `code` is its error code, empty when it is malformed."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class LoginFlow:
    """Logins of one configured page.

    Args:
        settings: of the page.
        resource: the configured resource, from which the redirect URI is derived.
        issuer: the issuer that people log in at.
        store: keeps pending logins.
    """

    def __init__(self, settings: AccountPageSettings, resource: str, issuer: LoginIssuer, store: Store) -> None:
        self._settings = settings
        self._redirect_uri = settings.redirect_uri(resource)
        self._issuer = issuer
        self._store = store

    async def begin(self, cookies: Mapping[str, str], place: str) -> tuple[str, str]:
        """Begin a login.

        Args:
            cookies: of the browser: two tabs share its secret, so that both logins can end.
            place: page to return to; any other place than a page becomes the first one.

        Returns:
            The URL at the issuer, and the browser secret.

        Raises:
            LoginError: the issuer's metadata is unavailable.
            Refusal: `store_unavailable`.
        """
        endpoints = await self._issuer.metadata()
        browser = browser_secret(cookies) or secrets.token_urlsafe(32)
        state, nonce, verifier = (secrets.token_urlsafe(size) for size in (32, 32, 48))
        pending = {"browser": _digest(browser), "nonce": nonce, "verifier": verifier, "place": allowed_place(place)}
        await self._store.run(begin_login(state, orjson.dumps(pending)))
        parameters = {
            "response_type": "code",
            "client_id": self._settings.client_id,
            "redirect_uri": self._redirect_uri,
            "scope": " ".join(self._settings.requested),
            "state": state,
            "nonce": nonce,
            "code_challenge": _challenge(verifier),
            "code_challenge_method": "S256",
        }
        asked = urlsplit(endpoints.authorization)
        kept = [pair for pair in parse_qsl(asked.query, keep_blank_values=True) if pair[0] not in parameters]
        return asked._replace(query=urlencode([*kept, *parameters.items()])).geturl(), browser

    async def finish(self, cookies: Mapping[str, str], query: Mapping[str, str]) -> tuple[Holder, str]:
        """End a login with the parameters of its callback.

        Returns:
            The holder, and the page to return to.

        Raises:
            UnknownLoginError: see there.
            DeclinedLoginError: the issuer declines.
            LoginError: the issuer's answers are unavailable or wrong.
            Refusal: `store_unavailable`.
        """
        pending = await self._pending(cookies, query.get("state", ""))
        endpoints = await self._issuer.metadata()
        self._issuer.check_response_issuer(query.get("iss"), endpoints.names_issuer)
        if "error" in query:
            raise DeclinedLoginError(query["error"] if _ERROR.fullmatch(query["error"]) else "")
        code = query.get("code", "")
        if not 0 < len(code) <= MAX_CODE:
            raise LoginError(LoginFault.CODE, "the callback has no usable code")
        secret = self._settings.client_secret
        exchange = CodeExchange(
            code,
            pending["verifier"],
            pending["nonce"],
            self._redirect_uri,
            self._settings.client_id,
            None if secret is None else secret.get_secret_value(),
        )
        return await self._issuer.holder(exchange), allowed_place(pending["place"])

    async def _pending(self, cookies: Mapping[str, str], state: str) -> dict[str, Any]:
        browser = browser_secret(cookies)
        if browser is None or _STATE.fullmatch(state) is None:
            raise UnknownLoginError
        document = taken_login(await self._store.run(take_login(state)))
        pending = None if document is None else orjson.loads(document)
        if pending is None or not hmac.compare_digest(pending["browser"], _digest(browser)):
            raise UnknownLoginError
        return dict(pending)


def allowed_place(place: str) -> str:
    """Return a page to return to; that of the overview for any other place."""
    return place if _PLACE.fullmatch(place) else ""


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _challenge(verifier: str) -> str:
    """Return the S256 challenge of a verifier (RFC 7636 section 4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
