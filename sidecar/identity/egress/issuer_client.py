"""Requests to one issuer: by its proxy, with its authorities, and with failures in words that show no secret."""

from __future__ import annotations

import asyncio
import base64
import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypedDict

import aiohttp

from sidecar.config.settings.settings import BackendTls
from sidecar.config.tls_files import CertificateError, Credentials, describe_tls_error, read_credentials, stamp_of
from sidecar.identity.egress.proxies import Proxies, Proxy
from sidecar.system.threads import LimitedThreads

CHECK_EVERY: Final = 2.0
"""Seconds between two checks of a file of authorities."""
READ_WITHIN: Final = 3.0
"""Seconds for reading such a file; a mount that does not answer fails the request."""


class EgressError(Exception):
    """Failure before a request is sent; the message is for the operator."""


class RequestOptions(TypedDict):
    """Arguments of a request of `aiohttp.ClientSession` for one URL."""

    allow_redirects: bool
    ssl: ssl.SSLContext | bool
    proxy: str | None
    headers: Mapping[str, str]
    proxy_headers: Mapping[str, str]


class IssuerClient:
    """HTTP client of one issuer.

    Args:
        session: the client of all issuers, from `discovery.session`.
        ca: PEM file of the issuer's authorities; None for the system's.
        proxies: of the environment.
    """

    def __init__(self, session: aiohttp.ClientSession, ca: Path | None = None, proxies: Proxies | None = None) -> None:
        self.session = session
        self._authorities = None if ca is None else _Authorities(ca)
        self._proxies = proxies or Proxies()

    async def options(self, url: str, headers: Mapping[str, str] | None = None) -> RequestOptions:
        """Return the arguments of a request; redirects are never followed.

        Args:
            url: its URL.
            headers: its own headers.

        Raises:
            EgressError: the configured authorities or the proxy cannot be used.
        """
        proxy = self._proxies.choose(url)
        if proxy is not None and proxy.problem is not None:
            raise EgressError(proxy.problem)
        secured = url.startswith("https:")
        credentials = {} if proxy is None else _credentials(proxy)
        return RequestOptions(
            allow_redirects=False,
            ssl=await self._authorities.context() if self._authorities is not None and secured else True,
            proxy=None if proxy is None else proxy.url,
            # Through a tunnel the issuer must not see the credentials; without one the request itself has them.
            headers={**(headers or {}), **({} if secured else credentials)},
            proxy_headers=credentials if secured else {},
        )

    def describe(self, error: Exception, url: str) -> str:
        """Describe a failed request: never with the text of the error, which may quote the peer or credentials."""
        proxy = self._proxies.choose(url)
        by = "" if proxy is None else f" through the proxy {proxy.url}"
        if isinstance(error, EgressError):
            return str(error)
        if isinstance(error, aiohttp.ClientHttpProxyError):
            return f"the connection failed: the proxy {'' if proxy is None else proxy.url} answered {error.status}"
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            error = error.certificate_error
        elif isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, ssl.SSLError):
            error = error.os_error
        if isinstance(error, ssl.SSLError):
            return f"the connection failed: {describe_tls_error(error)}{by}"
        return f"the connection failed ({type(error).__name__}){by}"


def _credentials(proxy: Proxy) -> dict[str, str]:
    """Return the header of HTTP Basic authentication (RFC 9110 section 11.7.2), if any."""
    if proxy.user is None:
        return {}
    encoded = base64.b64encode(f"{proxy.user}:{proxy.password}".encode()).decode()
    return {"Proxy-Authorization": f"Basic {encoded}"}


class _Authorities:
    """TLS context of one file of authorities, made again when the file changes.

    An unusable file changes nothing while an earlier context exists, as for certificates in use.
    """

    def __init__(self, ca: Path) -> None:
        self._source = BackendTls(ca=ca)
        self._threads = LimitedThreads("authorities")
        self._in_use: Credentials | None = None
        self._checked = 0.0

    async def context(self) -> ssl.SSLContext:
        """Return the context for new connections.

        Raises:
            EgressError: the file cannot be used, and never could.
        """
        now = time.monotonic()
        if self._in_use is not None and now - self._checked < CHECK_EVERY:
            return self._in_use.context
        self._checked = now
        problem = "tls.ca: the file system does not answer"
        try:
            async with asyncio.timeout(READ_WITHIN):
                self._in_use = await self._threads.run(_read, self._source, self._in_use)
        except TimeoutError:
            pass
        except CertificateError as error:
            problem = f"tls.{error}"
        if self._in_use is None:
            raise EgressError(problem)
        return self._in_use.context


def _read(source: BackendTls, in_use: Credentials | None) -> Credentials:
    """Read the file if it has changed; runs in a thread."""
    return in_use if in_use is not None and stamp_of(source) == in_use.stamp else read_credentials(source)
