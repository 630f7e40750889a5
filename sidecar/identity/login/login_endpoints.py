"""Requests of a login to its issuer: metadata, the exchange of a code, userinfo. Bounded, and never redirected."""

from __future__ import annotations

import asyncio
import base64
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final
from urllib.parse import quote_plus, urlencode, urlsplit

import aiohttp

from sidecar.identity import issuer_json
from sidecar.identity.egress.issuer_client import EgressError, IssuerClient
from sidecar.identity.jwt.discovery import TIMEOUT, FetchError, KeySource, bare
from sidecar.identity.opaque.request_limits import BoundedQueue, BusyError

MAX_REPLY: Final = 64 * 1024
"""Bytes of an answer of the token or the userinfo endpoint."""
FRESH: Final = 300.0
"""Seconds for which metadata is used without another fetch."""
KEPT: Final = 6 * 3600.0
"""Seconds for which metadata is used while fetching fails."""
RETRY_AFTER: Final = 10.0
"""Seconds between two fetches of metadata."""
PLACES: Final = 16
"""Concurrent requests of logins to one issuer, and"""
WAITING: Final = 64
"""those that wait."""

_METHODS: Final = "token_endpoint_auth_methods_supported"
_NAMES_ISSUER: Final = "authorization_response_iss_parameter_supported"


class LoginFault(StrEnum):
    """Reason for which a login has failed."""

    ISSUER = "issuer_unavailable"  # no usable answer of the issuer
    CLIENT = "client_rejected"  # the issuer does not accept the page's client
    CODE = "code_rejected"  # used before, expired, or of another client
    TOKEN = "token_invalid"  # noqa: S105 - the ID token is not one for this login
    ACCOUNT = "account_missing"  # neither ID token nor userinfo names the account
    BUSY = "busy"  # too many logins at one time


class LoginError(Exception):
    """Failure of a login.

    Args:
        fault: the reason.
        problem: for the operator; contains no code, token or secret.
    """

    def __init__(self, fault: LoginFault, problem: str) -> None:
        super().__init__(problem)
        self.fault = fault
        self.problem = problem


@dataclass(frozen=True, slots=True)
class LoginMetadata:
    """Endpoints of an issuer.

    Attributes:
        authorization: the authorization endpoint, without a fragment.
        token: the token endpoint.
        userinfo: the userinfo endpoint; None without one.
        names_issuer: True when each authorization response has `iss` (RFC 9207).
        secret_in_body: True when the client's secret belongs into the form (`client_secret_post`).
    """

    authorization: str
    token: str
    userinfo: str | None
    names_issuer: bool
    secret_in_body: bool


class LoginEndpoints:
    """Endpoints of one issuer.

    Args:
        client: sends the requests.
        source: of the metadata.
        monotonic: seconds of a clock that never jumps.
    """

    def __init__(self, client: IssuerClient, source: KeySource, monotonic: Callable[[], float]) -> None:
        self._client = client
        self._source = source
        self._monotonic = monotonic
        self._known: LoginMetadata | None = None
        self._fetched = -math.inf
        self._asked = -math.inf
        self._problem = "not asked yet"
        self._one = asyncio.Lock()
        self._queue = BoundedQueue(PLACES, WAITING)

    async def metadata(self) -> LoginMetadata:
        """Return the endpoints; those of an earlier answer while the issuer is unreachable.

        Raises:
            LoginError: there are none.
        """
        async with self._one:
            now = self._monotonic()
            if now - self._fetched >= FRESH and now - self._asked >= RETRY_AFTER:
                self._asked = now
                try:
                    self._known = self._read(await self._source.metadata())
                    self._fetched = now
                except FetchError as error:
                    self._problem = str(error)
            if self._known is None or now - self._fetched >= KEPT:
                raise LoginError(LoginFault.ISSUER, self._problem)
            return self._known

    def _read(self, document: Mapping[str, Any]) -> LoginMetadata:
        found: dict[str, str | None] = {}
        for name in ("authorization_endpoint", "token_endpoint", "userinfo_endpoint"):
            url = document.get(name)
            usable = isinstance(url, str) and self._source.trusts(url) and not urlsplit(url).fragment
            found[name] = url if usable else None
        authorization, token, userinfo = found.values()
        if authorization is None or token is None:
            raise FetchError("the metadata has no usable authorization_endpoint and token_endpoint")
        methods = document.get(_METHODS)
        listed = methods if isinstance(methods, list) else []
        in_body = "client_secret_basic" not in listed and "client_secret_post" in listed
        return LoginMetadata(authorization, token, userinfo, document.get(_NAMES_ISSUER) is True, in_body)

    async def redeem(self, form: Mapping[str, str], secret: str | None) -> Mapping[str, Any]:
        """Exchange a code for tokens (RFC 6749 section 4.1.3).

        Args:
            form: `code`, `redirect_uri`, `code_verifier` and `client_id`.
            secret: of the client; None for a public one.

        Raises:
            LoginError: there are none.
        """
        endpoints = await self.metadata()
        fields, headers = {"grant_type": "authorization_code", **form}, dict(_FORM)
        if secret is not None and endpoints.secret_in_body:
            fields["client_secret"] = secret
        elif secret is not None:
            # RFC 6749 section 2.3.1: both are form-urlencoded first.
            pair = f"{quote_plus(fields.pop('client_id'))}:{quote_plus(secret)}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        status, document = await self._send(endpoints.token, headers, urlencode(fields).encode())
        if status == 200:
            return document
        error = document.get("error")
        if error == "invalid_grant":
            raise LoginError(LoginFault.CODE, "the token endpoint rejects the code")
        if error in ("invalid_client", "unauthorized_client"):
            raise LoginError(LoginFault.CLIENT, f"the token endpoint rejects account_page.client_id ({error})")
        raise LoginError(LoginFault.ISSUER, f"{bare(endpoints.token)}: answered with status {status}")

    async def userinfo(self, access_token: str) -> Mapping[str, Any]:
        """Return the claims of the userinfo endpoint (OpenID Connect Core 1.0 section 5.3); none without one.

        Raises:
            LoginError: there is no usable answer.
        """
        endpoints = await self.metadata()
        if endpoints.userinfo is None:
            return {}
        status, document = await self._send(endpoints.userinfo, {"Authorization": f"Bearer {access_token}"}, None)
        if status != 200:
            raise LoginError(LoginFault.ISSUER, f"{bare(endpoints.userinfo)}: answered with status {status}")
        return document

    async def _send(self, url: str, headers: Mapping[str, str], body: bytes | None) -> tuple[int, Mapping[str, Any]]:
        try:
            async with asyncio.timeout(TIMEOUT), self._queue.slot():
                try:
                    return await self._answer(url, headers, body)
                except aiohttp.ServerDisconnectedError:
                    return await self._answer(url, headers, body)  # an idle connection that the issuer had closed
        except BusyError:
            raise LoginError(LoginFault.BUSY, "too many logins wait for the issuer") from None
        except TimeoutError:
            problem = "no answer in time"
        except issuer_json.IssuerJsonError as error:
            problem = f"the answer {error}"
        except (aiohttp.ClientError, EgressError, OSError, ValueError) as error:
            problem = self._client.describe(error, url)
        raise LoginError(LoginFault.ISSUER, f"{bare(url)}: {problem}")

    async def _answer(self, url: str, headers: Mapping[str, str], body: bytes | None) -> tuple[int, Mapping[str, Any]]:
        session, options = self._client.session, await self._client.options(url, headers)
        async with session.request("GET" if body is None else "POST", url, data=body, **options) as response:
            found = bytearray()
            async for chunk in response.content.iter_any():
                found += chunk
                if len(found) > MAX_REPLY:
                    raise issuer_json.IssuerJsonError(f"is larger than {MAX_REPLY} bytes")
            if response.status != 200 and response.content_type != "application/json":
                return response.status, {}
            return response.status, issuer_json.parse_object(bytes(found))


_FORM: Final = {"Content-Type": "application/x-www-form-urlencoded"}
