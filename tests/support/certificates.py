"""Certificates for tests: an authority of their own, and what it issues, as files.

authority = Authority(tmp_path)
pair = authority.issue("server")                  # for 127.0.0.1 and localhost
async with Backend(tls=authority.server(pair)): ...
client = authority.client()                       # trusts this authority alone
"""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

DAY = datetime.timedelta(days=1)
HERE = (x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost"))


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key."""

    cert: Path
    key: Path

    @property
    def files(self) -> dict[str, str]:
        """As the config names them."""
        return {"cert": str(self.cert), "key": str(self.key)}

    @property
    def serial(self) -> int:
        return x509.load_pem_x509_certificate(self.cert.read_bytes()).serial_number

    @property
    def ends(self) -> float:
        """Expiry in seconds since the epoch."""
        return x509.load_pem_x509_certificate(self.cert.read_bytes()).not_valid_after_utc.timestamp()

    def become(self, other: Pair) -> None:
        """Hold from now on what the other one holds, as renewal programs do it: each file replaced whole."""
        replace(self.cert, other.cert.read_bytes())
        replace(self.key, other.key.read_bytes())


def replace(path: Path, data: bytes) -> None:
    """Replace a file atomically."""
    new = path.with_suffix(".new")
    new.write_bytes(data)
    os.replace(new, path)


class Authority:
    """A certificate authority whose files are in one folder.

    Args:
        folder: where all its files are.
        name: its own; several may share a folder.
    """

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder = folder
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.cert = folder / f"{name}.pem"
        """The CA certificate that clients have to trust."""
        self.cert.write_bytes(self._sign(self._name, self._key.public_key(), (), DAY, ca=True))

    def issue(
        self,
        name: str,
        *,
        alternatives: tuple[x509.GeneralName, ...] = HERE,
        days: float = 1,
        begins: float = -1,
        passphrase: str | None = None,
    ) -> Pair:
        """A certificate of this authority.

        Args:
            name: of its files.
            alternatives: whom it is for.
            days: when it ends, counted from now.
            begins: when it begins.
            passphrase: what its key is encrypted with.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        pair = Pair(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        pair.cert.write_bytes(self._sign(subject, key.public_key(), alternatives, days * DAY, begins * DAY))
        how: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if passphrase is not None:
            how = serialization.BestAvailableEncryption(passphrase.encode())
        pair.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how))
        return pair

    def client(self, pair: Pair | None = None) -> ssl.SSLContext:
        """A client that trusts this authority alone, and has a certificate or none."""
        context = ssl.create_default_context(cafile=self.cert)
        if pair is not None:
            context.load_cert_chain(pair.cert, pair.key)
        return context

    def server(self, pair: Pair, *, ask: bool = False) -> ssl.SSLContext:
        """A server with this certificate.

        Args:
            pair: its certificate.
            ask: refuse clients without a certificate of this authority.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.cert, pair.key)
        if ask:
            context.load_verify_locations(self.cert)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _sign(
        self,
        subject: x509.Name,
        public_key: ec.EllipticCurvePublicKey,
        alternatives: tuple[x509.GeneralName, ...],
        ends: datetime.timedelta,
        begins: datetime.timedelta = -DAY,
        *,
        ca: bool = False,
    ) -> bytes:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + begins)
            .not_valid_after(now + ends)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if ca:  # without these Python 3.13 does not trust it
            builder = builder.add_extension(_signs(), critical=True)
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _signs() -> x509.KeyUsage:
    others = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    return x509.KeyUsage(
        **dict.fromkeys((*others, "encipher_only", "decipher_only"), False), key_cert_sign=True, crl_sign=True
    )


# --- servers that refuse their clients -----------------------------------------------------------


@contextlib.contextmanager
def refusing(context: ssl.SSLContext) -> Iterator[str]:
    """A server whose handshakes fail, and which reads everything before it closes; its URL.

    So what it has to say is never lost in a reset connection, as it may be with others.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def serve() -> None:
        while not over.is_set():
            try:
                raw, _ = listener.accept()
            except OSError:
                return
            with raw, contextlib.suppress(ConnectionError):
                _refuse(raw, context, over)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"https://127.0.0.1:{listener.getsockname()[1]}/mcp"
    finally:
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def _refuse(raw: socket.socket, context: ssl.SSLContext, over: threading.Event) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    end = context.wrap_bio(incoming, outgoing, server_side=True)
    refused = False
    raw.settimeout(0.05)  # who waits for the end of this thread may be the client that it waits for
    while not over.is_set():
        try:
            data = raw.recv(65536)
        except TimeoutError:
            continue
        if not data:
            return
        if refused:
            continue
        incoming.write(data)
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            refused = True
        raw.sendall(outgoing.read())
        if refused:
            raw.shutdown(socket.SHUT_WR)
