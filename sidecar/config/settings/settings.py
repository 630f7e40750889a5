"""Models of config.yaml, section by section, with their defaults.

Times are seconds, sizes are bytes.
"""

from __future__ import annotations

from itertools import combinations, product
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, PlainSerializer, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from sidecar.config.documents.merging import Document, FindingsError, Lax, Model, Problem, validate
from sidecar.config.documents.salvage import salvage
from sidecar.config.settings.account_page_settings import AccountPageSettings, page_findings
from sidecar.config.settings.addresses import (
    EMBEDDED,
    Address,
    HostName,
    HttpUrl,
    Listener,
    Origin,
    ResourceUrl,
    StoreUrl,
)
from sidecar.config.settings.admin_api_settings import AdminApiSettings
from sidecar.config.settings.issuer_settings import ALGORITHMS, Introspection, Issuers, IssuerSettings
from sidecar.config.settings.limits import Limits, WorkerCount
from sidecar.config.settings.observation_settings import Log, TracingSettings
from sidecar.config.settings.scalars import (
    BackendHeaders,
    Duration,
    DurationOrZero,
    FilePath,
    FilePaths,
)
from sidecar.config.settings.token_settings import Claims

__all__ = [
    "ALGORITHMS",
    "Address",
    "BackendSettings",
    "BackendTls",
    "Claims",
    "Introspection",
    "IssuerSettings",
    "Limits",
    "Listen",
    "Log",
    "ServerTls",
    "Settings",
    "StoreSettings",
    "settings_of",
]

# --- listening ---------------------------------------------------------------------------------


class ServerTls(Model):
    """The sidecar's certificate for clients."""

    cert: FilePath
    """PEM file of the certificate, followed by intermediate certificates; `listen` then accepts TLS only."""
    key: FilePath
    """PEM file of its unencrypted private key."""


class Listen(Model):
    """Listener of MCP and the well-known documents."""

    address: Listener
    tls: ServerTls | None = None


def _listen(value: object) -> object:
    if not isinstance(value, str | dict):
        accepted = "host:port, or {address: host:port, tls: {cert, key}}"
        raise PydanticCustomError("string_type", "address expected", {"accepted": accepted})
    return {"address": value} if isinstance(value, str) else value


_ListenOrAddress = Annotated[Listen, BeforeValidator(_listen, json_schema_input_type=Listener | Listen)]


def _several(value: object) -> object:
    if value == []:
        raise ValueError("no address; an address, or a list of at least one")
    return value if isinstance(value, list) else [value]


def _addresses_as_written(value: tuple[Address, ...]) -> Any:
    return str(value[0]) if len(value) == 1 else [str(each) for each in value]


def _listens_as_written(value: tuple[Listen, ...]) -> Any:
    written = [str(each.address) if each.tls is None else each.model_dump() for each in value]
    return written[0] if len(written) == 1 else written


Listens = Annotated[
    Lax[tuple[_ListenOrAddress, ...]],
    BeforeValidator(_several, json_schema_input_type=Listener | Listen | list[Listener | Listen]),
    PlainSerializer(_listens_as_written),
]
"""One, or a list of them."""
Addresses = Annotated[
    Lax[tuple[Listener, ...]],
    BeforeValidator(_several, json_schema_input_type=Listener | list[Listener]),
    PlainSerializer(_addresses_as_written),
]
"""One, or a list of them."""


# --- the backend -------------------------------------------------------------------------------


class BackendTls(Model):
    """TLS of the backend: its authorities, and the sidecar's certificate for it."""

    ca: FilePath | None = None
    """PEM file of the authorities of the backend's certificate; default: the system's."""
    cert: FilePath | None = None
    """PEM file of the sidecar's client certificate, followed by intermediate certificates."""
    key: FilePath | None = None
    """PEM file of its unencrypted private key."""

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert without key or key without cert; both or neither")
        return self


class BackendSettings(Model):
    """The MCP server behind the sidecar."""

    url: HttpUrl
    headers: BackendHeaders = Field(default_factory=dict, repr=False)
    """Headers added to every request, such as an API key of the backend; may be secret."""
    tls: BackendTls = BackendTls()
    connect_timeout: Duration = 5.0
    """Timeout of one connection attempt."""
    max_connection_age: Duration = 60.0
    """Lifetime of one connection; then the backend's name is resolved again."""
    timeout: Duration = 300.0
    """Timeout of a call, up to its final result; a tool may override it."""
    idle_timeout: Duration = 300.0
    """Timeout of a stream without data."""
    keepalive: Duration = 15.0
    """Interval of comments to the client while the backend sends nothing."""
    events: Literal["shared", "scoped"] = "shared"
    """`scoped`: the backend separates the events of GET streams by session, so that they can be resumed."""

    @model_validator(mode="after")
    def _tls_is_used(self) -> Self:
        if self.tls.model_fields_set and not self.url.startswith("https:"):
            raise FindingsError([(("tls",), "not used with an http:// URL", "an https:// URL, or no tls")])
        return self


# --- the remaining sections --------------------------------------------------------------------


class StoreSettings(Model):
    """Store of accounts, consents, quotas and credits."""

    url: StoreUrl = Field(default=EMBEDDED, repr=False)
    """`embedded`, or the URL of a Valkey or Redis server, of sentinels or of a cluster; may contain a password."""
    directory: FilePath = Field(default=Path("var/store"), validate_default=True)
    """Folder of the embedded server's data; unused by other stores."""

    @property
    def embedded(self) -> bool:
        """True when the sidecar runs its own server."""
        return self.url == EMBEDDED

    @model_validator(mode="after")
    def _directory_is_used(self) -> Self:
        if "directory" in self.model_fields_set and not self.embedded:
            raise FindingsError([(("directory",), "used by the embedded store only", "url: embedded, or no directory")])
        return self


class Settings(Model):
    """Config file."""

    resource: ResourceUrl
    """The public URL; audience, metadata and challenges are derived from it."""
    listen: Listens = (
        Listen.model_construct(address=Address("0.0.0.0", 8080)),  # noqa: S104 - reachable from outside of a container
    )
    admin: Addresses = (Address("127.0.0.1", 9090),)
    """Addresses of metrics and health."""
    admin_hosts: Lax[tuple[HostName, ...]] = ()
    """Host names that `admin` and `admin_api` accept in addition to IP literals and `localhost`, in lower case."""
    hosts: Lax[tuple[HostName, ...]] = ()
    """Additional accepted Host names, in lower case."""
    origins: Lax[tuple[Origin, ...]] = ()
    """Allowed browser origins, as browsers send them."""
    backend: BackendSettings
    issuers: Issuers
    """Authorization servers whose access tokens are accepted."""
    store: StoreSettings = Field(default_factory=dict, validate_default=True)
    policies: FilePaths = Field(default=Path("policies"), validate_default=True)
    """Folder of policy files, or a list of files."""
    limits: Limits = Limits()
    reload: Literal["signal", "watch"] = "signal"
    """`watch`: changed files are reloaded without a signal."""
    control: FilePath | None = None
    """Path of the socket for `mcp-sidecar reload`; if absent, there is none."""
    workers: WorkerCount = 1
    """Number of processes that serve; `auto`: one for each processor."""
    shutdown_delay: DurationOrZero = 0.0
    """Time between SIGTERM and the end of accepting; `/readyz` answers 503 meanwhile."""
    shutdown_grace: DurationOrZero = 30.0
    """Time for calls in flight to end at shutdown."""
    log: Log = Log()
    tracing: TracingSettings | None = None
    account_page: AccountPageSettings | None = None
    admin_api: AdminApiSettings | None = None

    @field_validator("issuers")
    @classmethod
    def _trials_are_local(cls, value: tuple[IssuerSettings, ...], info: ValidationInfo) -> tuple[IssuerSettings, ...]:
        host = urlsplit(info.data.get("resource", "")).hostname or ""
        return tuple(issuer.for_resource(host) for issuer in value)

    @model_validator(mode="after")
    def _memory_suffices_for_workers(self) -> Self:
        short = [] if self.workers == "auto" else self.limits.shortages(self.workers)
        if short:
            raise FindingsError([(("limits", *path), wrong, accepted) for path, wrong, accepted in short])
        return self

    @model_validator(mode="after")
    def _page_has_a_place(self) -> Self:
        page = self.account_page
        found = [] if page is None else list(page_findings(page, self.resource, self.issuers))
        if found:
            raise FindingsError([(("account_page", *path), wrong, accepted) for path, wrong, accepted in found])
        return self

    @model_validator(mode="after")
    def _listeners_differ(self) -> Self:
        public = [each.address for each in self.listen]
        api = () if self.admin_api is None else self.admin_api.addresses
        for key, addresses in ((("listen",), public), (("admin",), self.admin), (("admin_api", "listen"), api)):
            if any(one.conflicts_with(other) for one, other in combinations(addresses, 2)):
                raise FindingsError(
                    [(key, "two addresses that cannot both be bound", "addresses that do not include each other")]
                )
        if any(one.overlaps(other) for one, other in product(self.admin, public)):
            raise FindingsError([(("admin",), "overlaps an address of `listen`", "another port or host")])
        if any(one.overlaps(other) for one, other in product(api, (*public, *self.admin))):
            wrong = "overlaps an address of `listen` or `admin`"
            raise FindingsError([(("admin_api", "listen"), wrong, "another port or host")])
        return self


def settings_of(document: Document, base: Path | None = None) -> Settings:
    """Read a parsed config file.

    Args:
        document: the config, `${...}` substituted.
        base: the folder of relative paths; None leaves them relative.

    Raises:
        DocumentError: all problems of the config.
    """
    return validate(Settings, document, base=base)


_REQUIRED: Final = {
    "resource": "https://mcp.example.com/mcp",
    "backend": {"url": "http://127.0.0.1:8000/mcp"},
    "issuers": [{"issuer": "https://example.com"}],
}


def salvaged_settings(document: Document, base: Path | None = None) -> tuple[Settings | None, list[Problem]]:
    """Read an invalid config file without its invalid parts, to find the problems that these hide.

    Returns:
        the settings of the rest, never to be served with, and the problems that `settings_of` does not report.
    """
    return salvage(Settings, document, _REQUIRED, base=base)
