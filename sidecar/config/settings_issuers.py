"""Issuers: whose access tokens are accepted, and how they are read."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from sidecar.config.documents import FindingsError, Lax, Model
from sidecar.config.settings_types import DurationOrZero, IdentifierUrl, KeyUrl, Secret

Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""With a symmetric algorithm whoever verifies a token could also sign one: none is accepted."""

ALGORITHMS: Final[tuple[Algorithm, ...]] = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
)  # fmt: skip

Name = Annotated[str, Field(min_length=1, max_length=255)]
OneOrMore = Annotated[
    tuple[Name, ...],
    Field(strict=False, min_length=1),
    BeforeValidator(lambda value: [value] if isinstance(value, str) else value, json_schema_input_type=str | list[str]),
]
"""One text, or a list of some."""

_MAX_LEEWAY: Final = 60.0
_MAX_CACHE: Final = 3600.0


class Claims(Model):
    """Which claims say what."""

    account: Name = "sub"
    """Names the account."""
    client_id: Name | None = None
    """Names the client; None: `client_id`, else `azp`."""
    scopes: Name | None = None
    """The scopes, as text with spaces or a list; None: `scope`, else `scp`."""


class Introspection(Model):
    """Where an issuer is asked about its opaque tokens (RFC 7662), and as whom."""

    url: KeyUrl
    """The issuer's introspection endpoint, asked about every token that is no JWT (RFC 7662)."""
    client_id: Name
    """As whom the sidecar asks, by HTTP Basic authentication."""
    client_secret: Secret
    """The secret of that client."""
    cache: DurationOrZero = 30.0
    """How long an answer may be used, and how long a revoked token goes on; `0s` asks at every call."""

    @model_validator(mode="after")
    def _cache_is_short(self) -> Self:
        if self.cache > _MAX_CACHE:
            raise FindingsError([(("cache",), "too large", "at most 1h")])
        return self


class Issuer(Model):
    """An authorization server whose access tokens are accepted."""

    issuer: IdentifierUrl
    """The exact `iss` of its tokens."""
    id: str = Field(default="main", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")
    """The name under which its accounts are kept; `main` when there is only one issuer."""
    jwks_uri: KeyUrl | None = None
    """Where its keys are; None: as its metadata says."""
    algorithms: Lax[tuple[Algorithm, ...]] = Field(default=ALGORITHMS, min_length=1)
    """What it may sign with."""
    audience: OneOrMore | None = None
    """What `aud` has to name, one of them; None: the resource."""
    typ: OneOrMore | None = None
    """Values of the token's `typ` that are accepted; None: `at+jwt` (RFC 9068), `JWT`, or none at all."""
    leeway: DurationOrZero = 10.0
    """How far the issuer's clock may differ."""
    claims: Claims = Claims()
    introspection: Introspection | None = None
    """How its opaque tokens are read; one issuer at most can have some, as nothing else tells whose they are."""

    @property
    def signs(self) -> bool:
        """Whether it surely signs tokens: one that is asked about opaque ones may have no keys at all."""
        return self.introspection is None or self.jwks_uri is not None

    @model_validator(mode="after")
    def _leeway_is_small(self) -> Self:
        if self.leeway > _MAX_LEEWAY:
            raise FindingsError([(("leeway",), "too large", "at most 60s")])
        return self


def _distinct(issuers: tuple[Issuer, ...]) -> tuple[Issuer, ...]:
    findings: list[tuple[tuple[str | int, ...], str, str]] = []
    ids: dict[str, int] = {}
    urls: dict[str, int] = {}
    asked = [index for index, each in enumerate(issuers) if each.introspection is not None]
    for index in asked[1:]:
        wrong = f"issuers[{asked[0]}].introspection is there too, and an opaque token does not say whose it is"
        findings.append(((index, "introspection"), wrong, "one issuer with introspection"))
    for index, each in enumerate(issuers):
        if len(issuers) > 1 and "id" not in each.model_fields_set:
            findings.append(((index,), "no id, although there are several issuers", "an id that names its accounts"))
        elif ids.setdefault(each.id, index) != index:
            findings.append(((index, "id"), f"the id of issuers[{ids[each.id]}] too", "an id of its own"))
        if urls.setdefault(each.issuer, index) != index:
            findings.append(((index, "issuer"), f"given twice, first as issuers[{urls[each.issuer]}]", "once"))
    if findings:
        raise FindingsError(findings)
    return issuers


Issuers = Annotated[Lax[tuple[Issuer, ...]], Field(min_length=1), AfterValidator(_distinct)]
"""At least one, with ids and URLs of their own."""
