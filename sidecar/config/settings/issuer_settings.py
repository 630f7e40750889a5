"""Settings of the issuers of accepted access tokens."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, PrivateAttr, model_validator

from sidecar.config.documents.merging import FindingsError, Lax, Model
from sidecar.config.settings.addresses import HttpUrl, is_loopback
from sidecar.config.settings.issuer_access import (
    ANY,
    PLACEHOLDER,
    Advertise,
    IssuerTls,
    IssuerUrl,
    KeyFile,
    Tenants,
    access_findings,
)
from sidecar.config.settings.scalars import DurationOrZero, Secret
from sidecar.config.settings.token_settings import Audience, Claims, Grant, Name, OneOrMore, ScopeText

Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"]
"""Accepted algorithms; none is symmetric, because a verifier could then sign tokens too."""

ALGORITHMS: Final[tuple[Algorithm, ...]] = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519",
)  # fmt: skip

COMMON: Final = "common"
"""Tenant in the URL of the metadata that all tenants share, as Entra ID names it."""

_MAX_LEEWAY: Final = 60.0
_MAX_CACHE: Final = 3600.0


class Introspection(Model):
    """Introspection of an issuer's opaque tokens (RFC 7662)."""

    url: HttpUrl
    """The issuer's introspection endpoint, for every token that is no JWT (RFC 7662)."""
    client_id: Name
    """The sidecar's client id at the issuer, for HTTP Basic authentication."""
    client_secret: Secret
    """The secret of that client."""
    cache: DurationOrZero = 30.0
    """Lifetime of a cached answer, and so of a revoked token; `0s` introspects at every call."""

    @model_validator(mode="after")
    def _cache_is_short(self) -> Self:
        if self.cache > _MAX_CACHE:
            raise FindingsError([(("cache",), "too large", "at most 1h")])
        return self


class IssuerSettings(Model):
    """An authorization server whose access tokens are accepted."""

    issuer: IssuerUrl
    """The exact `iss` of its tokens; `{tenantid}` stands for a tenant of `tenants`."""
    id: str = Field(default="main", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")
    """Name of the issuer in keys of accounts; default with a single issuer: `main`."""
    jwks_uri: HttpUrl | None = None
    """URL of its keys; default: from its metadata."""
    algorithms: Lax[tuple[Algorithm, ...]] = Field(default=ALGORITHMS, min_length=1)
    """Accepted signature algorithms."""
    audience: Audience | None = None
    """Accepted values of `aud`; default: the resource. Or the clients of an issuer that cannot bind its tokens."""
    typ: OneOrMore | None = None
    """Accepted values of the token's `typ`; default: `at+jwt` (RFC 9068), `JWT`, or no `typ`."""
    leeway: DurationOrZero = 10.0
    """Accepted difference of the issuer's clock."""
    claims: Claims = Claims()
    scope_prefix: ScopeText | None = None
    """Prefix of the scopes at the issuer, such as `api://GUID/`; the policy's scopes have none."""
    grants: Lax[tuple[Grant, ...]] = ()
    """Scopes by client, by group or role, or for every token, in addition to the token's own."""
    introspection: Introspection | None = None
    """Introspection of its opaque tokens; for one issuer at most, because an opaque token does not name its issuer."""
    tenants: Tenants | None = None
    """Accepted tenants of an issuer with `{tenantid}`: a list, or `any`; accounts are then named `TENANT/CLAIM`."""
    jwks: KeyFile | None = None
    tls: IssuerTls | None = None
    insecure_http: bool = False
    """True permits http:// URLs of other machines: a party that can alter that traffic can forge tokens."""
    advertise: Advertise = True
    """False leaves the issuer out of the protected resource metadata; a URL is named there instead of it."""

    _accepts_trials: bool = PrivateAttr(default=False)

    @property
    def accepts_trials(self) -> bool:
        """Return True when a trial issuer is accepted: the resource is on loopback, as `for_resource` found."""
        return self._accepts_trials

    def for_resource(self, host: str) -> IssuerSettings:
        """Return these settings for a resource on a host."""
        found = self.model_copy()
        found._accepts_trials = is_loopback(host)
        return found

    @property
    def signs(self) -> bool:
        """Return True when the issuer has keys; an issuer with introspection may have none."""
        return self.introspection is None or self.jwks_uri is not None or self.jwks is not None

    @property
    def tenant(self) -> str | None:
        """Return the tenant of settings from `for_tenant`; None of all others."""
        tenants = self.tenants
        if not isinstance(tenants, tuple) or PLACEHOLDER in self.issuer:
            return None
        return tenants[0]

    @property
    def advertised(self) -> tuple[str, ...]:
        """Return the issuer identifiers for the protected resource metadata (RFC 9728 section 2)."""
        if isinstance(self.advertise, str):
            return (self.advertise,)
        if not self.advertise:
            return ()
        return self.identifiers or (self.issuer.replace(PLACEHOLDER, COMMON),)

    @property
    def identifiers(self) -> tuple[str, ...]:
        """Return every `iss` of its tokens; none when it accepts any tenant."""
        if self.tenants == ANY:
            return ()
        return tuple(self.issuer.replace(PLACEHOLDER, tenant) for tenant in self.tenants or ("",))

    def for_tenant(self, tenant: str) -> IssuerSettings:
        """Return the settings of one tenant: its own identifier, and no other tenant."""
        issuer = self.issuer.replace(PLACEHOLDER, tenant)
        return self.model_copy(update={"issuer": issuer, "tenants": (tenant,)})

    @model_validator(mode="after")
    def _ways_agree(self) -> Self:
        advertise = self.advertise if isinstance(self.advertise, str) else None
        urls: dict[tuple[str | int, ...], str | None] = {
            ("issuer",): self.issuer,
            ("jwks_uri",): self.jwks_uri,
            ("advertise",): advertise,
        }
        if self.introspection is not None:
            urls["introspection", "url"] = self.introspection.url
        findings = access_findings(
            urls,
            tenants=self.tenants,
            has_introspection=self.introspection is not None,
            has_key_file=self.jwks is not None,
            has_tls=self.tls is not None,
            insecure_http=self.insecure_http,
        )
        if findings:
            raise FindingsError(findings)
        return self

    @model_validator(mode="after")
    def _leeway_is_small(self) -> Self:
        if self.leeway > _MAX_LEEWAY:
            raise FindingsError([(("leeway",), "too large", "at most 60s")])
        return self


def _distinct(issuers: tuple[IssuerSettings, ...]) -> tuple[IssuerSettings, ...]:
    findings: list[tuple[tuple[str | int, ...], str, str]] = []
    ids: dict[str, int] = {}
    urls: dict[str, int] = {}
    asked = [index for index, each in enumerate(issuers) if each.introspection is not None]
    for index in asked[1:]:
        wrong = f"issuers[{asked[0]}].introspection is set too, and an opaque token does not name its issuer"
        findings.append(((index, "introspection"), wrong, "one issuer with introspection"))
    for index, each in enumerate(issuers):
        if len(issuers) > 1 and "id" not in each.model_fields_set:
            findings.append(((index,), "no id, although there are several issuers", "an id that names its accounts"))
        elif ids.setdefault(each.id, index) != index:
            findings.append(((index, "id"), f"the id of issuers[{ids[each.id]}] too", "an id of its own"))
        for url in each.identifiers or (each.issuer,):
            if urls.setdefault(url, index) != index:
                findings.append(((index, "issuer"), f"given twice, first as issuers[{urls[url]}]", "once"))
    if findings:
        raise FindingsError(findings)
    return issuers


Issuers = Annotated[Lax[tuple[IssuerSettings, ...]], Field(min_length=1), AfterValidator(_distinct)]
"""At least one issuer, with distinct ids and URLs."""
