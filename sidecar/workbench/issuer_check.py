"""Check of the issuers' audience and scopes against the policy: problems, and warnings about what they weaken. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from sidecar.config.documents.merging import Document, Path, Problem
from sidecar.config.documents.suggestions import listed, nearest
from sidecar.config.settings.addresses import is_loopback
from sidecar.config.settings.issuer_settings import IssuerSettings
from sidecar.config.settings.settings import Settings
from sidecar.config.settings.token_settings import ClientAudience
from sidecar.policy.rules import Policy
from sidecar.workbench.lint import Notice


def issuer_problems(settings: Settings, policy: Policy, document: Document) -> Iterator[Problem]:
    """Yield the faults of issuers that only the policy shows.

    Args:
        settings: the config.
        policy: the policy, which declares the scopes.
        document: the document of the config, for the positions.
    """
    for index, issuer in enumerate(settings.issuers):
        path: Path = ("issuers", index)
        for place, grant in enumerate(issuer.grants):
            for number, scope in enumerate(grant.scopes):
                if scope not in policy.scope_names:
                    below = (*path, "grants", place, "scopes", number)
                    wrong, near = "no policy file declares this scope", nearest(scope, policy.scope_names)
                    yield document.problem(below, wrong, listed(policy.scope_names), near=near)
        prefix = issuer.scope_prefix
        prefixed = [scope for scope in policy.scope_names if prefix is not None and scope.startswith(prefix)]
        if prefixed:
            wrong = f"the policy declares {prefixed[0]!r}, which has this prefix already"
            yield document.problem((*path, "scope_prefix"), wrong, "scopes without it in the policy, or no prefix")


def issuer_notices(settings: Settings, policy: Policy, document: Document) -> Iterator[Notice]:
    """Yield warnings about accepted settings that weaken the check of tokens or end in failing logins.

    Args:
        settings: the config.
        policy: the policy.
        document: the document of the config, for the positions.
    """
    for index, issuer in enumerate(settings.issuers):
        path: Path = ("issuers", index)
        audience = issuer.audience
        if isinstance(audience, ClientAudience):
            yield from _audience(audience, document.rule((*path, "audience")))
        yield from _base_scopes(issuer, policy, document.rule((*path, "grants")))
        yield from _local(issuer, settings.resource, document.rule((*path, "issuer")))


def _audience(audience: ClientAudience, rule: str) -> Iterator[Notice]:
    accepted = "without aud" if audience.aud == "absent" else f"with aud {' or '.join(audience.aud)}"
    yield Notice(
        rule,
        f"tokens {accepted} are bound to no resource: every server that gets one from {_listed(audience.client_ids)} "
        "can use it here. Clients that register themselves cannot be listed; where the issuer can set aud to the "
        "resource, use that instead",
    )
    for client in audience.client_ids:
        if audience.aud != "absent" and client in audience.aud:
            yield Notice(
                rule, f"aud {client} is also that of the client's ID tokens; set typ if access tokens have their own"
            )


def _base_scopes(issuer: IssuerSettings, policy: Policy, rule: str) -> Iterator[Notice]:
    granted = {scope for grant in issuer.grants for scope in grant.scopes}
    for scope in policy.base_scopes:
        if scope in granted:
            yield Notice(
                rule, f"base scope {scope!r} is in grants, so the first login at {issuer.id} does not request it"
            )


def _local(issuer: IssuerSettings, resource: str, rule: str) -> Iterator[Notice]:
    if is_loopback(urlsplit(issuer.issuer).hostname or "") and not issuer.accepts_trials:
        yield Notice(
            rule,
            f"{issuer.id} is on loopback and the resource {resource} is not: clients of other machines cannot log in "
            "there, and keys of a trial issuer are refused",
        )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
