"""The certificates, keys and authorities that config.yaml names: read from disk and made into TLS contexts.

OpenSSL alone judges whether they can be used; what is parsed here besides says what is wrong with those it
refuses, and when a certificate ends. A context is always a new one: loading a pair into a context in use
can leave it with half of it, or with the old certificate beside the new one.

Messages never repeat what a file holds, and no passphrase is ever asked for.
"""

from __future__ import annotations

import ssl
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from sidecar.config.settings import BackendTls, ServerTls

Stamp = tuple[tuple[int, ...] | None, ...]
"""What the file system says of files, to tell whether one was changed or replaced; None: it is not there."""

# TLS 1.2 with forward secrecy and authenticated encryption; the suites of 1.3 all have both (RFC 9325 section 4.2).
_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
_PEM: Final = "a PEM file that this user can read"


@dataclass(frozen=True, slots=True)
class Fault:
    """Why one file cannot be used.

    Attributes:
        key: `cert`, `key` or `ca`, as the config calls it.
        wrong: what is wrong; it holds nothing of the file.
        accepted: what would be right.
    """

    key: str
    wrong: str
    accepted: str


class CertificateError(Exception):
    """Files cannot be used together; says why of each that is to blame."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(f"{fault.key}: {fault.wrong}" for fault in self.faults))


@dataclass(frozen=True, slots=True)
class Credentials:
    """One side's files as they were read.

    Attributes:
        source: what the config says of them.
        context: for new connections.
        stamp: of the files, from before they were read.
        begins: when the certificate begins to be valid; None without one.
        ends: when it ends, or one that stands above it in the file does.
    """

    source: ServerTls | BackendTls
    context: ssl.SSLContext = field(repr=False)
    stamp: Stamp
    begins: datetime | None = None
    ends: datetime | None = None

    def untimely(self, now: datetime) -> str | None:
        """What clocks have against the certificate, which is no reason for OpenSSL to refuse it here."""
        if self.ends is not None and self.ends <= now:
            return f"the certificate has expired, on {self.ends:%Y-%m-%d}"
        if self.begins is not None and now < self.begins:
            return f"the certificate is not valid before {self.begins:%Y-%m-%d}"
        return None


def read(source: ServerTls | BackendTls) -> Credentials:
    """Read the files and make a context of them: the listener's, or the one that the backend is met with.

    Raises:
        CertificateError: some cannot be used.
    """
    before = stamp_of(source)
    if faults := [fault for key, path in named(source).items() if (fault := _unreadable(key, path))]:
        raise CertificateError(faults)
    context = _listener() if isinstance(source, ServerTls) else _client(source)
    if source.cert is None or source.key is None:
        return Credentials(source, context, before)
    try:
        context.load_cert_chain(source.cert, source.key, password=_no_passphrase)
        times = _times(source.cert.read_bytes())
    except (OSError, _EncryptedError) as error:
        raise CertificateError(_faults(source.cert, source.key, error)) from None
    begins, ends = max((each[0] for each in times), default=None), min((each[1] for each in times), default=None)
    return Credentials(source, context, before, begins, ends)


def named(source: ServerTls | BackendTls) -> dict[str, Path]:
    """The files that are named, by their keys in the config."""
    every = {"ca": source.ca if isinstance(source, BackendTls) else None, "cert": source.cert, "key": source.key}
    return {key: path for key, path in every.items() if path is not None}


def stamp_of(source: ServerTls | BackendTls) -> Stamp:
    """What tells the files from what they were before; links are followed."""
    return tuple(_stamp(path) for path in named(source).values())


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


# --- contexts ----------------------------------------------------------------------------------


def _listener() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _client(source: BackendTls) -> ssl.SSLContext:
    """Verifies chain and name of the backend, by `ca` alone where it is given, else by the system's."""
    try:
        context = ssl.create_default_context(cafile=source.ca)
    except OSError as error:
        raise CertificateError([_unusable("ca", "no certificate can be read from it", error, "certificates")]) from None
    if source.ca is not None and not context.cert_store_stats()["x509"]:
        raise CertificateError([Fault("ca", "no certificate is in it", "certificates of authorities, in PEM")])
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # in Python 3.13 by default: `ca` need not be a root
    context.set_alpn_protocols(["http/1.1"])
    return context


# --- what is wrong -----------------------------------------------------------------------------


def tls_words(error: ssl.SSLError) -> str:
    """Why TLS with a server failed, in OpenSSL's words; nothing that the server wrote."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message.rstrip('.')})"
    return f"TLS failed ({(error.reason or 'no reason').lower().replace('_', ' ')})"


class _EncryptedError(Exception):
    """OpenSSL asks for a passphrase; left to itself it would ask the terminal, and wait there."""


def _no_passphrase() -> str:
    raise _EncryptedError


def _unreadable(key: str, path: Path) -> Fault | None:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe could be waited for for ever
            return Fault(key, "is no file", _PEM)
        with path.open("rb"):
            return None
    except OSError as error:
        return Fault(key, f"cannot be read ({error.strerror})", _PEM)


def _faults(cert: Path, key: Path, error: Exception) -> list[Fault]:
    """Which of the two files OpenSSL does not like, and why."""
    if isinstance(error, _EncryptedError):
        return [Fault("key", "it is encrypted, and there is nobody to ask for the passphrase", "an unencrypted key")]
    try:
        chain, private = _times(cert.read_bytes()), key.read_bytes()
    except OSError as gone:  # just now
        return [Fault("cert", f"it or its key cannot be read ({gone.strerror})", _PEM)]
    faults = []
    if not chain:
        faults.append(Fault("cert", "no certificate can be read from it", "a PEM file of certificates, its own first"))
    if not _holds_key(private):
        faults.append(Fault("key", "no private key can be read from it", "a PEM file of an unencrypted private key"))
    if faults:
        return faults
    if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
        return [Fault("key", "it is not the key of the certificate in `cert`", "the key that belongs to it")]
    return [_unusable("cert", "it or its key cannot be used", error, "a whole certificate that is strong enough")]


def _unusable(key: str, wrong: str, error: Exception, accepted: str) -> Fault:
    """A fault in OpenSSL's own words, which are names of its errors."""
    reason = error.reason if isinstance(error, ssl.SSLError) else None
    return Fault(key, f"{wrong} ({reason.lower().replace('_', ' ')})" if reason else wrong, f"{accepted}, in PEM")


def _times(data: bytes) -> list[tuple[datetime, datetime]]:
    """When each certificate in a PEM text begins and ends; none where this reader finds something wrong."""
    try:
        chain = x509.load_pem_x509_certificates(data)
        return [(each.not_valid_before_utc, each.not_valid_after_utc) for each in chain]
    except (ValueError, x509.InvalidVersion):
        return []


def _holds_key(data: bytes) -> bool:
    try:
        serialization.load_pem_private_key(data, password=None)
    except (TypeError, UnsupportedAlgorithm):  # an encrypted one, or of a kind that OpenSSL was not built with
        return True
    except ValueError:
        return False
    return True
