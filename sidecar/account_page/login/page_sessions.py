"""Sessions of the account page in the store, and the two cookies of a browser."""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sidecar.identity.login.holders import Holder
from sidecar.store.commands.keys import AccountKeys, account_keys
from sidecar.store.commands.page_logins import (
    LOGIN_LIFE,
    SESSION_LIFE,
    begin_page_session,
    end_page_session,
    end_page_sessions,
    find_page_session,
    found_page_session,
)
from sidecar.store.store import Store

SESSION_COOKIE: Final = "__Host-mcp-account"
"""Cookie of a session: the digest of its account, a dot, and its secret id."""
LOGIN_COOKIE: Final = "__Host-mcp-login"
"""Cookie of the browser secret."""

_ATTRIBUTES: Final = "Path=/; Secure; HttpOnly; SameSite=Lax"
_SECRET: Final = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
_SESSION: Final = re.compile(r"([0-9a-f]{32})\.([A-Za-z0-9_-]{43})", re.ASCII)


@dataclass(frozen=True, slots=True)
class PageSession:
    """Session of a holder.

    Attributes:
        holder: the person.
        token: that each form of the session has; another site cannot know it.
        cookie: value of the cookie.
    """

    holder: Holder
    token: str
    cookie: str

    def __repr__(self) -> str:
        return "PageSession(...)"

    @property
    def keys(self) -> AccountKeys:
        """Keys of the holder's account."""
        return account_keys(self.holder.issuer_id, self.holder.account)

    def owns(self, token: str) -> bool:
        """Return whether a form was made for this session."""
        return hmac.compare_digest(self.token.encode(), token.encode("utf-8", "surrogatepass"))


class PageSessions:
    """Sessions of all holders.

    Args:
        store: keeps them.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    async def begin(self, holder: Holder) -> PageSession:
        """Begin a session.

        Raises:
            Refusal: `store_unavailable`.
        """
        keys, secret, token = account_keys(holder.issuer_id, holder.account), _new_secret(), _new_secret()
        fields = {"issuer": holder.issuer_id, "account": holder.account, "name": holder.name, "token": token}
        await self._store.run(begin_page_session(keys, secret, holder.subject, fields))
        return PageSession(holder, token, f"{keys.digest}.{secret}")

    async def find(self, cookies: Mapping[str, str], issuer_id: str) -> PageSession | None:
        """Return the session of a browser; None when it has none, or it has ended.

        Args:
            cookies: of the request.
            issuer_id: id of the issuer that people log in at now: after another one is configured, sessions end.

        Raises:
            Refusal: `store_unavailable`.
        """
        named = _named(cookies)
        if named is None:
            return None
        keys, secret = named
        found = found_page_session(await self._store.run(find_page_session(keys, secret)))
        token, issuer, account, subject = (found.get(name, "") for name in ("token", "issuer", "account", "subject"))
        # A record with another account than its key says was written by another program.
        if not token or issuer != issuer_id or account_keys(issuer, account) != keys:
            return None
        holder = Holder(issuer, account, subject, found.get("name", ""))
        return PageSession(holder, token, cookies[SESSION_COOKIE])

    async def end(self, cookies: Mapping[str, str]) -> None:
        """End the session of a browser, if it has one.

        Raises:
            Refusal: `store_unavailable`.
        """
        named = _named(cookies)
        if named is not None:
            await self._store.run(end_page_session(*named))

    async def end_all(self, session: PageSession) -> None:
        """End all sessions of the holder, in every browser.

        Raises:
            Refusal: `store_unavailable`.
        """
        await self._store.run(end_page_sessions(session.keys, session.holder.subject))


def session_cookie(session: PageSession) -> str:
    """Return the cookie of a new session."""
    return f"{SESSION_COOKIE}={session.cookie}; Max-Age={SESSION_LIFE}; {_ATTRIBUTES}"


def no_session_cookie() -> str:
    """Return the cookie that removes that of a session."""
    return f"{SESSION_COOKIE}=; Max-Age=0; {_ATTRIBUTES}"


def browser_secret(cookies: Mapping[str, str]) -> str | None:
    """Return the browser secret of a request; None without a well-formed one."""
    value = cookies.get(LOGIN_COOKIE, "")
    return value if _SECRET.fullmatch(value) else None


def browser_cookie(secret: str) -> str:
    """Return the cookie of a browser secret."""
    return f"{LOGIN_COOKIE}={secret}; Max-Age={LOGIN_LIFE}; {_ATTRIBUTES}"


def _new_secret() -> str:
    return secrets.token_urlsafe(32)


def _named(cookies: Mapping[str, str]) -> tuple[AccountKeys, str] | None:
    match = _SESSION.fullmatch(cookies.get(SESSION_COOKIE, ""))
    return None if match is None else (AccountKeys(match[1]), match[2])
