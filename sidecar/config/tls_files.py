"""TLS contexts from the certificates, keys and authorities that config.yaml names.

OpenSSL decides whether files are usable; this module parses them only to describe rejected files and to
find the validity of certificates. Every read makes a new context: loading a pair into a context in use can
leave it with half of the pair, or with both the old and the new certificate.

Messages never repeat a file's content. Encrypted keys are rejected: no terminal may be there for a passphrase.
"""

from __future__ import annotations

import contextlib
import ssl
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from sidecar.config.settings.admin_api_settings import AdminApiTls
from sidecar.config.settings.settings import BackendTls, ServerTls

TlsSource = ServerTls | BackendTls | AdminApiTls
"""Section of the config that names TLS files."""
Stamp = tuple[tuple[int, ...] | None, ...]
"""File status, compared to detect changed or replaced files; None for a missing file."""

# TLS 1.2 with forward secrecy and authenticated encryption; the suites of 1.3 all have both (RFC 9325 section 4.2).
_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
_PEM: Final = "a PEM file that this user can read"


@dataclass(frozen=True, slots=True)
class Fault:
    """Fault of one file.

    Attributes:
        key: key of the config: `cert`, `key`, `ca` or `client_ca`.
        wrong: description of the fault, without the file's content.
        accepted: the accepted form.
    """

    key: str
    wrong: str
    accepted: str


class CertificateError(Exception):
    """One or more files are unusable; `faults` has the fault of each."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(f"{fault.key}: {fault.wrong}" for fault in self.faults))


@dataclass(frozen=True, slots=True)
class Credentials:
    """Loaded files of a listener, the backend or the store.

    Attributes:
        source: the section of the config that names the files.
        context: the TLS context of new connections.
        stamp: stamp of the files before they were read, so that a change during the read is detected later.
        not_before: latest start of validity of the certificates in the file; None without a certificate.
        not_after: earliest expiry of the certificates in the file; None without a certificate.
    """

    source: TlsSource
    context: ssl.SSLContext = field(repr=False)
    stamp: Stamp
    not_before: datetime | None = None
    not_after: datetime | None = None

    def validity_problem(self, now: datetime) -> str | None:
        """Describe an expired or not yet valid certificate, which OpenSSL loads without error; None for a valid one."""
        if self.not_after is not None and self.not_after <= now:
            return f"the certificate has expired, on {self.not_after:%Y-%m-%d}"
        if self.not_before is not None and now < self.not_before:
            return f"the certificate is not valid before {self.not_before:%Y-%m-%d}"
        return None


def read_credentials(source: TlsSource) -> Credentials:
    """Read the files of a listener, the backend or the store, and make the context of its connections.

    Raises:
        CertificateError: one or more files are unusable.
    """
    before = stamp_of(source)
    if faults := [fault for key, path in paths_of(source).items() if (fault := _unreadable(key, path))]:
        raise CertificateError(faults)
    context = _context(source)
    if source.cert is None or source.key is None:
        return Credentials(source, context, before)
    try:
        context.load_cert_chain(source.cert, source.key, password=_no_passphrase)
        periods = _validity_periods(source.cert.read_bytes())
    except (OSError, _EncryptedError) as error:
        raise CertificateError(_faults(source.cert, source.key, error)) from None
    not_before = max((start for start, _ in periods), default=None)
    not_after = min((expiry for _, expiry in periods), default=None)
    return Credentials(source, context, before, not_before, not_after)


def paths_of(source: TlsSource) -> dict[str, Path]:
    """Return the path of each file that the section names, by its key in the config."""
    every = {
        "ca": source.ca if isinstance(source, BackendTls) else None,
        "client_ca": source.client_ca if isinstance(source, AdminApiTls) else None,
        "cert": source.cert,
        "key": source.key,
    }
    return {key: path for key, path in every.items() if path is not None}


def stamp_of(source: TlsSource) -> Stamp:
    """Return the stamp of the files; symbolic links are followed."""
    return tuple(_stamp(path) for path in paths_of(source).values())


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


# --- contexts ----------------------------------------------------------------------------------


def _context(source: TlsSource) -> ssl.SSLContext:
    if isinstance(source, BackendTls):
        return _client(source)
    context = _listener()
    if isinstance(source, AdminApiTls) and source.client_ca is not None:
        with _authorities("client_ca"):
            context.load_verify_locations(source.client_ca)
        _require_authorities(context, "client_ca")
        context.verify_mode = ssl.CERT_OPTIONAL  # a caller without a certificate may have a token
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def _listener() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _client(source: BackendTls) -> ssl.SSLContext:
    """Make a context that verifies the backend's chain and name: with `ca` only, or with the system's authorities."""
    with _authorities("ca"):
        context = ssl.create_default_context(cafile=source.ca)
    if source.ca is not None:
        _require_authorities(context, "ca")
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # as by default in Python 3.13: `ca` may be an intermediate
    context.set_alpn_protocols(["http/1.1"])
    return context


@contextlib.contextmanager
def _authorities(key: str) -> Iterator[None]:
    """Report a file of authorities that OpenSSL cannot read."""
    try:
        yield
    except OSError as error:
        raise CertificateError([_unusable(key, "no certificate can be read from it", error, "certificates")]) from None


def _require_authorities(context: ssl.SSLContext, key: str) -> None:
    if not context.cert_store_stats()["x509"]:
        raise CertificateError([Fault(key, "no certificate is in it", "certificates of authorities, in PEM")])


# --- faults ------------------------------------------------------------------------------------


def describe_tls_error(error: ssl.SSLError) -> str:
    """Describe a failed TLS connection with OpenSSL's reason, without text from the peer."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message.rstrip('.')})"
    return f"TLS failed ({(error.reason or 'no reason').lower().replace('_', ' ')})"


class _EncryptedError(Exception):
    """Request of OpenSSL for a passphrase; by default it would prompt on the terminal and block."""


def _no_passphrase() -> str:
    raise _EncryptedError


def _unreadable(key: str, path: Path) -> Fault | None:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe could block forever
            return Fault(key, "is not a regular file", _PEM)
        with path.open("rb"):
            return None
    except OSError as error:
        return Fault(key, f"cannot be read ({error.strerror})", _PEM)


def _faults(cert: Path, key: Path, error: Exception) -> list[Fault]:
    """Describe why OpenSSL rejects a certificate and its key."""
    if isinstance(error, _EncryptedError):
        return [Fault("key", "it is encrypted, and the sidecar cannot prompt for a passphrase", "an unencrypted key")]
    try:
        chain, private = _validity_periods(cert.read_bytes()), key.read_bytes()
    except OSError as gone:  # removed after the first read
        return [Fault("cert", f"it or its key cannot be read ({gone.strerror})", _PEM)]
    faults = []
    if not chain:
        faults.append(Fault("cert", "no certificate can be read from it", "a PEM file of certificates, its own first"))
    if not _has_private_key(private):
        faults.append(Fault("key", "no private key can be read from it", "a PEM file of an unencrypted private key"))
    if faults:
        return faults
    if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
        return [Fault("key", "it does not match the certificate in `cert`", "the private key of that certificate")]
    return [_unusable("cert", "it or its key cannot be used", error, "a complete certificate that is strong enough")]


def _unusable(key: str, wrong: str, error: Exception, accepted: str) -> Fault:
    """Return a fault with OpenSSL's reason, if it has one."""
    reason = error.reason if isinstance(error, ssl.SSLError) else None
    return Fault(key, f"{wrong} ({reason.lower().replace('_', ' ')})" if reason else wrong, f"{accepted}, in PEM")


def _validity_periods(data: bytes) -> list[tuple[datetime, datetime]]:
    """Return start and expiry of each certificate in a PEM text; an empty list if the text is invalid."""
    try:
        chain = x509.load_pem_x509_certificates(data)
        return [(each.not_valid_before_utc, each.not_valid_after_utc) for each in chain]
    except (ValueError, x509.InvalidVersion):
        return []


def _has_private_key(data: bytes) -> bool:
    try:
        serialization.load_pem_private_key(data, password=None)
    except (TypeError, UnsupportedAlgorithm):  # an encrypted key, or of a kind that this OpenSSL does not support
        return True
    except ValueError:
        return False
    return True
