"""Tenants of issuers: the settings for the `iss` of a token. Pure.

An issuer with `{tenantid}` in its identifier issues tokens for many tenants (Entra ID). Each tenant is an issuer of
its own: its identifier is compared exactly, and the names of its accounts begin with the tenant.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from sidecar.config.settings.issuer_access import ANY, PLACEHOLDER, is_tenant
from sidecar.config.settings.settings import IssuerSettings
from sidecar.identity.invalid_token import invalid


class TrustedIssuer(NamedTuple):
    """Issuer of a token.

    Attributes:
        settings: those for this `iss`; with tenants, of its tenant.
        configured: the issuer as config.yaml has it.
    """

    settings: IssuerSettings
    configured: IssuerSettings


class TrustedIssuers:
    """Configured issuers by the `iss` of their tokens.

    Args:
        issuers: the configured issuers.
    """

    def __init__(self, issuers: Iterable[IssuerSettings]) -> None:
        configured = tuple(issuers)
        self._exact = {
            settings.issuer: TrustedIssuer(settings, issuer)
            for issuer in configured
            for settings in each_tenant(issuer)
        }
        self._open = tuple(issuer for issuer in configured if issuer.tenants == ANY)
        self._accepted = tuple(issuer.issuer for issuer in configured)

    def of(self, iss: str) -> TrustedIssuer:
        """Return the settings for a token's `iss`, those of its tenant; an exact identifier precedes `any`.

        Raises:
            Refusal: `token_invalid` when no configured issuer has this identifier.
        """
        known = self._exact.get(iss)
        if known is not None:
            return known
        for issuer in self._open:
            before, _, after = issuer.issuer.partition(PLACEHOLDER)
            tenant = iss[len(before) : len(iss) - len(after)]
            if is_tenant(tenant) and iss == f"{before}{tenant}{after}":
                return TrustedIssuer(issuer.for_tenant(tenant), issuer)
        raise invalid("its issuer is not trusted here", check="iss", found=iss, accepted=self._accepted)


def each_tenant(issuer: IssuerSettings) -> tuple[IssuerSettings, ...]:
    """Return the settings of every listed tenant; of an issuer without tenants its own; none for `any`."""
    if issuer.tenants == ANY:
        return ()
    if issuer.tenants is None or issuer.tenant is not None:
        return (issuer,)
    return tuple(issuer.for_tenant(tenant) for tenant in issuer.tenants)


def check_tenant(claims: Mapping[str, Any], issuer: IssuerSettings) -> None:
    """Refuse a token whose `tid` is another tenant than that of its `iss`.

    Raises:
        Refusal: `token_invalid`.
    """
    if issuer.tenant is not None and claims.get("tid", issuer.tenant) != issuer.tenant:
        accepted = [issuer.tenant]
        raise invalid("its tid is not the tenant of its iss", check="iss", found=claims["tid"], accepted=accepted)
