"""TLS to the store: whom to trust, and how to show who we are, from files that are renewed while we run."""

from __future__ import annotations

import contextlib
import ssl
from pathlib import Path

from sidecar.config.certificates import CertificateError, read, stamp_of
from sidecar.config.settings import BackendTls


class Trust:
    """The files that a store's URL names, as contexts for connections.

    They are read as those of the backend are: TLS 1.2 or later, chain and name of the server verified.

    Args:
        ca: PEM: authorities that the server's certificate must come from; None: the system's.
        cert: PEM: the certificate that the server is shown if it asks.
        key: PEM: its private key, not encrypted.

    Raises:
        ValueError: some cannot be used; says why of each, and holds nothing of them.
    """

    def __init__(self, ca: Path | None = None, cert: Path | None = None, key: Path | None = None) -> None:
        if (cert is None) != (key is None):
            raise ValueError("the store's URL names cert without key or key without cert; accepted: both or neither")
        self._files = BackendTls.model_construct(ca=ca, cert=cert, key=key)
        try:
            self._read()
        except CertificateError as error:
            raise ValueError(
                "; ".join(
                    f"{each.key} in the store's URL: {each.wrong}; accepted: {each.accepted}" for each in error.faults
                )
            ) from None

    def context(self) -> ssl.SSLContext:
        """For one new connection. Files that have changed and cannot be used leave the old ones in force."""
        if stamp_of(self._files) != self._credentials.stamp:
            with contextlib.suppress(CertificateError):  # half renewed: the other file comes in a moment
                self._read()
        return self._credentials.context

    def _read(self) -> None:
        self._credentials = read(self._files)
        self._credentials.context.set_alpn_protocols([])  # what is spoken is not HTTP, and has no name there
