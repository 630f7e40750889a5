"""TLS to the store: trusted authorities and client certificate, from files that may change at any time."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from pathlib import Path
from typing import Final

from sidecar.config.settings.settings import BackendTls
from sidecar.config.tls_files import CertificateError, read_credentials, stamp_of
from sidecar.system.threads import LimitedThreads

RELOAD_TIMEOUT: Final = 0.2
"""Seconds that a new connection waits for the files; on a mount that hangs, the loaded ones stay in force."""


class StoreTls:
    """TLS contexts from the files in a store's URL.

    The rules are those of the backend: TLS 1.2 or later, certificate chain and server name are verified.

    Args:
        ca: PEM file of trusted authorities; None: those of the system.
        cert: PEM file of the client certificate.
        key: PEM file of its private key, not encrypted.

    Raises:
        ValueError: a file is unusable; the message has a reason per file, and nothing of their content.
    """

    def __init__(self, ca: Path | None = None, cert: Path | None = None, key: Path | None = None) -> None:
        if (cert is None) != (key is None):
            raise ValueError("the store's URL names cert without key or key without cert; accepted: both or neither")
        self._threads = LimitedThreads("store certificates")
        self._files = BackendTls.model_construct(ca=ca, cert=cert, key=key)
        try:
            self._read()
        except CertificateError as error:
            raise ValueError(
                "; ".join(
                    f"{each.key} in the store's URL: {each.wrong}; accepted: {each.accepted}" for each in error.faults
                )
            ) from None

    async def context(self) -> ssl.SSLContext:
        """Return the context for a new connection. Changed files that are unusable leave the loaded ones in force."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RELOAD_TIMEOUT):
                await self._threads.run(self._renew)
        return self._credentials.context

    def _renew(self) -> None:
        if stamp_of(self._files) != self._credentials.stamp:
            with contextlib.suppress(CertificateError):  # half renewed: the second file follows
                self._read()

    def _read(self) -> None:
        found = read_credentials(self._files)
        found.context.set_alpn_protocols([])  # RESP has no ALPN name
        self._credentials = found
