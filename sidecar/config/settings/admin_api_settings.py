"""Settings of the admin API: its listener, and the programs that may use it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)

from sidecar.config.documents.merging import FindingsError, Lax, Model, context_value
from sidecar.config.settings.addresses import ADDRESS, Address, address_of, is_loopback
from sidecar.config.settings.scalars import FilePath, Secret

Permission = Literal["read", "accounts", "consents", "credits"]
"""Part of the API: everything that only reads, or the changes of one kind of record."""
PERMISSIONS: Final[tuple[Permission, ...]] = ("read", "accounts", "consents", "credits")

MIN_TOKEN: Final = 32
"""Characters of a token at least: 128 bits in hexadecimal digits."""
MAX_PROGRAMS: Final = 256
"""Entries of `tokens`, and of `clients`."""

_UNIX: Final = "unix:"
_CHARACTERS: Final = r"[A-Za-z0-9._~+/-]+=*"  # RFC 6750 section 2.1
_CERTIFICATE_NAME: Final = r"^[!-~]{1,255}$"
_ADDRESS_FORM: Final = "host:port, or unix:PATH"

Finding = tuple[tuple[str | int, ...], str, str]


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """Unix socket of a listener."""

    path: Path

    def __str__(self) -> str:
        return f"{_UNIX}{self.path}"


# --- addresses ---------------------------------------------------------------------------------


def _listening_address(value: object, info: ValidationInfo) -> Address | UnixAddress:
    if not isinstance(value, str) or not value.startswith(_UNIX):
        return address_of(value)
    path = value.removeprefix(_UNIX)
    if not path or not path.isprintable():
        raise ValueError(f"not an address; {_ADDRESS_FORM}")
    base = context_value(info, "base")
    return UnixAddress(Path(path) if base is None else base / path)


def _several(value: object) -> object:
    if value == []:
        raise ValueError("no address; an address, or a list of at least one")
    return value if isinstance(value, list) else [value]


def _as_written(value: tuple[Address | UnixAddress, ...]) -> Any:
    return str(value[0]) if len(value) == 1 else [str(each) for each in value]


_Listening = Annotated[
    Address | UnixAddress,
    PlainValidator(_listening_address),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "pattern": f"^({ADDRESS}|unix:.+)$", "description": _ADDRESS_FORM}),
]
AdminApiAddresses = Annotated[
    Lax[tuple[_Listening, ...]],
    BeforeValidator(_several, json_schema_input_type=_Listening | list[_Listening]),
    PlainSerializer(_as_written),
]
"""One, or a list of them."""


# --- programs ----------------------------------------------------------------------------------


def _token(value: Secret) -> Secret:
    text = value.get_secret_value()
    if len(text) < MIN_TOKEN or re.fullmatch(_CHARACTERS, text) is None:
        raise ValueError(f"too short, or with other characters; at least {MIN_TOKEN} of letters, digits and -._~+/")
    return value


def _without_repetition(value: tuple[Permission, ...]) -> tuple[Permission, ...]:
    findings = [((place,), "given twice", "once") for place, each in enumerate(value) if each in value[:place]]
    if findings:
        raise FindingsError(findings)
    return value


_May = Annotated[Lax[tuple[Permission, ...]], Field(min_length=1), AfterValidator(_without_repetition)]


class AdminApiToken(Model):
    """A program that shows a token."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")
    """Name of the program in the log and in journals: `admin:NAME`."""
    token: Annotated[Secret, AfterValidator(_token)]
    """Its token, such as `${file:/run/secrets/billing}`; at least 32 characters: `openssl rand -hex 32`."""
    may: _May
    """Its permissions: `read`, and the records that it may change."""


class AdminApiClient(Model):
    """A program that shows a certificate."""

    name: str = Field(pattern=_CERTIFICATE_NAME)
    """Name in its certificate: a DNS name or URI of the alternative names; without those, the common name."""
    may: _May
    """Its permissions."""


class AdminApiTls(Model):
    """Certificate of the admin API, and the authorities of its clients' certificates."""

    cert: FilePath
    """PEM file of the certificate, followed by intermediate certificates."""
    key: FilePath
    """PEM file of its unencrypted private key."""
    client_ca: FilePath | None = None
    """PEM file of the authorities of the certificates that `clients` show."""


class AdminApiSettings(Model):
    """HTTP API for the operator's own programs."""

    listen: AdminApiAddresses
    """Address, `unix:PATH`, or a list; addresses that other machines can reach need `tls`."""
    tls: AdminApiTls | None = None
    tokens: Lax[tuple[AdminApiToken, ...]] = Field(default=(), max_length=MAX_PROGRAMS)
    """Programs with a token."""
    clients: Lax[tuple[AdminApiClient, ...]] = Field(default=(), max_length=MAX_PROGRAMS)
    """Programs with a certificate; they need `tls.client_ca`."""

    @property
    def addresses(self) -> tuple[Address, ...]:
        """TCP addresses of the listener."""
        return tuple(each for each in self.listen if isinstance(each, Address))

    @model_validator(mode="after")
    def _callers_are_known(self) -> Self:
        findings = [*_exposed(self), *_callers(self), *_twice(self.tokens, self.clients)]
        if findings:
            raise FindingsError(findings)
        return self


# --- rules across keys -------------------------------------------------------------------------


def _exposed(settings: AdminApiSettings) -> Iterator[Finding]:
    """Yield the addresses where tokens would cross a network in plain text."""
    if settings.tls is None and any(not is_loopback(each.host) for each in settings.addresses):
        yield ("listen",), "plain HTTP on an address that other machines can reach", "tls, loopback, or unix:PATH"
    if settings.tls is not None and not settings.addresses:
        yield ("tls",), "not used by unix sockets", "an address, or no tls"


def _callers(settings: AdminApiSettings) -> Iterator[Finding]:
    if not settings.tokens and not settings.clients:
        yield (), "no program may use it", "tokens, or clients with tls.client_ca"
    with_certificates = settings.tls is not None and settings.tls.client_ca is not None
    if settings.clients and not with_certificates:
        yield ("clients",), "without tls.client_ca", "tls.client_ca, or tokens instead"
    if with_certificates and not settings.clients:
        yield ("tls", "client_ca"), "not used without clients", "clients, or no client_ca"


def _twice(tokens: Sequence[AdminApiToken], clients: Sequence[AdminApiClient]) -> Iterator[Finding]:
    """Yield repeated names, which would share an author in journals, and repeated tokens."""
    yield from _repeated("tokens", "name", (each.name for each in tokens), set())
    yield from _repeated("clients", "name", (each.name for each in clients), {each.name for each in tokens})
    yield from _repeated("tokens", "token", (each.token.get_secret_value() for each in tokens), set())


def _repeated(section: str, key: str, values: Iterable[str], seen: set[str]) -> Iterator[Finding]:
    for place, value in enumerate(values):
        if value in seen:
            yield (section, place, key), "given twice", f"a {key} of its own"
        seen.add(value)
