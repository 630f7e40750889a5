"""What config.yaml says: the models of every section, with their defaults.

Times are seconds, sizes are bytes. Some keys are modelled before they are enforced: `enforced.withheld`
refuses those before a file comes here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from sidecar.config.documents import Document, FindingsError, Lax, Model, validate
from sidecar.config.settings_issuers import ALGORITHMS, Claims, Introspection, Issuer, Issuers
from sidecar.config.settings_types import (
    EMBEDDED,
    Address,
    BackendHeaders,
    BackendUrl,
    Duration,
    DurationOrZero,
    FilePath,
    FilePaths,
    HostName,
    IdentifierUrl,
    Listener,
    Origin,
    Size,
    StoreUrl,
)

__all__ = [
    "ALGORITHMS",
    "Address",
    "Backend",
    "BackendTls",
    "Claims",
    "Introspection",
    "Issuer",
    "Limits",
    "Listen",
    "Log",
    "ServerTls",
    "Settings",
    "Store",
    "settings_of",
]

Count = Annotated[int, Field(ge=1, le=1_000_000)]


# --- listening ---------------------------------------------------------------------------------


class ServerTls(Model):
    """The certificate that the sidecar shows its clients."""

    cert: FilePath
    """PEM: the certificate, then those between it and its authority. With it `listen` speaks TLS alone."""
    key: FilePath
    """PEM: its private key, not encrypted."""


class Listen(Model):
    """Where MCP and the well-known documents are served."""

    address: Listener
    tls: ServerTls | None = None


ListenOrAddress = Annotated[
    Listen,
    BeforeValidator(
        lambda value: {"address": value} if isinstance(value, str) else value, json_schema_input_type=Listener | Listen
    ),
]


# --- the backend -------------------------------------------------------------------------------


class BackendTls(Model):
    """How the backend is verified, and how the sidecar shows it who it is."""

    ca: FilePath | None = None
    """PEM: authorities that the backend's certificate must come from; None: the system's."""
    cert: FilePath | None = None
    """PEM: the certificate that the backend is shown if it asks, then those up to its authority."""
    key: FilePath | None = None
    """PEM: its private key, not encrypted."""

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert without key or key without cert; both or neither")
        return self


class Backend(Model):
    """The one MCP server behind the sidecar."""

    url: BackendUrl
    headers: BackendHeaders = Field(default_factory=dict, repr=False)
    """Added to every request, such as an API key for the backend; may hold secrets."""
    tls: BackendTls = BackendTls()
    connect_timeout: Duration = 5.0
    """How long making one connection may take."""
    timeout: Duration = 300.0
    """How long a call may take, to its final result; a tool may override it."""
    idle_timeout: Duration = 300.0
    """How long a stream may be silent."""
    keepalive: Duration = 15.0
    """Time between comments to the client while the backend is silent."""

    @model_validator(mode="after")
    def _tls_is_used(self) -> Self:
        if self.tls.model_fields_set and not self.url.startswith("https:"):
            raise FindingsError([(("tls",), "not used with an http:// URL", "an https:// URL, or no tls")])
        return self


# --- everything else ---------------------------------------------------------------------------


class Store(Model):
    """Where accounts, consents, quotas and credits are kept."""

    url: StoreUrl = Field(default=EMBEDDED, repr=False)
    """`embedded`, or the URL of a Valkey or Redis server, of sentinels or of a cluster; may hold a password."""
    directory: FilePath = Field(default=Path("var/store"), validate_default=True)
    """The embedded server's data; unused by any other."""

    @property
    def embedded(self) -> bool:
        """Whether the sidecar runs its own server."""
        return self.url == EMBEDDED

    @model_validator(mode="after")
    def _directory_is_used(self) -> Self:
        if "directory" in self.model_fields_set and not self.embedded:
            raise FindingsError([(("directory",), "used by the embedded store only", "url: embedded, or no directory")])
        return self


class Limits(Model):
    """What one request and one process may take."""

    body: Size = 1 << 20
    """Bytes of a request's body."""
    header: Size = 16 << 10
    """Bytes of a request's headers."""
    json_depth: int = Field(default=64, ge=4, le=128)
    """Levels of nesting in a message."""
    items: int = Field(default=500, ge=1, le=5000)
    """Entries of a list that an amount is computed from."""
    response: Size = 64 << 20
    """Bytes of one answer or stream of the backend."""
    in_flight: Count = 1000
    """Requests at one time in one process."""
    in_flight_per_account: Count = 250
    """Those of them that one account may have."""
    streams_per_account: Count = 32
    """Open streams of one account in one process."""


class Log(Model):
    """How calls and events are logged on stdout."""

    format: Literal["json"] = "json"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Settings(Model):
    """The whole config file."""

    resource: IdentifierUrl
    """The one public URL: audience, metadata and challenges are made from it."""
    listen: ListenOrAddress = Listen.model_construct(
        address=Address("0.0.0.0", 8080)  # noqa: S104 - a server in a container is to be reached
    )
    admin: Listener = Address("127.0.0.1", 9090)
    """Where metrics and health are served."""
    hosts: Lax[tuple[HostName, ...]] = ()
    """Further Host names that are accepted, in lower case."""
    origins: Lax[tuple[Origin, ...]] = ()
    """Browser origins that are allowed, as browsers send them."""
    backend: Backend
    issuers: Issuers
    store: Store = Field(default_factory=dict, validate_default=True)
    policies: FilePaths = Field(default=Path("policies"), validate_default=True)
    """A folder, or files in the order given."""
    limits: Limits = Limits()
    workers: int = Field(default=1, ge=1, le=256)
    """How many processes serve."""
    shutdown_grace: DurationOrZero = 30.0
    """How long calls in flight may take to end."""
    log: Log = Log()

    @model_validator(mode="after")
    def _two_listeners(self) -> Self:
        if self.admin.collides(self.listen.address):
            raise FindingsError([(("admin",), "the address of `listen` too", "an address of its own")])
        return self


def settings_of(document: Document, base: Path | None = None) -> Settings:
    """Read a parsed config file.

    Args:
        document: the config, `${...}` substituted.
        base: the folder that relative paths start from; None leaves them relative.

    Raises:
        DocumentError: all that is wrong with it.
    """
    return validate(Settings, document, base=base)
