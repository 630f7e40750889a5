"""Names of the parties of a token: account, subject and client, in namespaces that cannot meet. Pure.

An account is the account claim; a subject is `sub`. A token without a user, of the client credentials grant, has
neither: account and subject are then `client:CLIENT_ID`, a form that no claim may have. In an issuer with tenants both
begin with `TENANT/`; no tenant's name has a slash.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from sidecar.config.settings.issuer_access import MAX_TENANT
from sidecar.config.settings.settings import IssuerSettings
from sidecar.identity.claim_path import value_at
from sidecar.identity.invalid_token import invalid
from sidecar.identity.parties.tenants import check_tenant
from sidecar.vocabulary import record

MAX_NAME: Final = 255
"""Characters of a claim that names a subject or an account."""
MAX_CLIENT_ID: Final = 2048
"""Characters of a client id, which may be a URL (client id metadata documents)."""
CLIENT_PREFIX: Final = "client:"
"""Start of the account and the subject of a token without a user."""
MAX_ACCOUNT: Final = MAX_TENANT + 1 + len(CLIENT_PREFIX) + MAX_CLIENT_ID
"""Characters of an account or a subject, with its tenant."""

# Claims that are read when the config names none, in order of preference.
_CLIENT_ID: Final = ("client_id", "azp")
# Claims that only a token of a person has. An issuer that sends one without `sub` needs `claims.account`: by client,
# all its users would share one account.
_OF_PEOPLE: Final = frozenset(
    {
        *("username", "preferred_username", "user_name", "user_id", "given_name", "family_name"),
        *("email", "upn", "unique_name", "auth_time", "amr", "sid", "session_state"),
    }
)


@record
class PartyNames:
    """Names of a token's parties.

    Attributes:
        account: the account that pays.
        subject: the user that consent is of; the account claim when the token has no `sub`.
        client_id: the client.
    """

    account: str
    subject: str
    client_id: str


def party_names(claims: Mapping[str, Any], issuer: IssuerSettings) -> PartyNames:
    """Return the names of a token's parties.

    Args:
        claims: from the token or from its issuer, checked.
        issuer: the issuer of the token; with tenants, the settings of the token's tenant.

    Raises:
        Refusal: `token_invalid` when a name is missing or malformed, or its tenant is another one.
    """
    tenant = None if issuer.tenants is None else issuer.tenant
    if tenant is not None:
        check_tenant(claims, issuer)
    paths = issuer.claims
    names = _CLIENT_ID if paths.client_id is None else (paths.client_id,)
    client_id = _printable(client_of(claims, issuer), "client id", MAX_CLIENT_ID, "client_id", names)
    claim = paths.account
    own = CLIENT_PREFIX + client_id if _is_without_user(claims, client_id, claim) else None
    subject = own or (_claim(claims, "sub") if "sub" in claims else None)
    # An account claim that the operator chose, such as an organisation, holds for a client's own token as well.
    if claim == "sub" and subject is not None:
        account = subject
    else:
        account = own if own is not None and not _has(claims, claim) else _claim(claims, claim)
    if tenant is None:
        return PartyNames(account, subject or account, client_id)
    return PartyNames(f"{tenant}/{account}", f"{tenant}/{subject or account}", client_id)


def client_of(claims: Mapping[str, Any], issuer: IssuerSettings) -> object:
    """Return the claim that names the client, unchecked; None without it."""
    path = issuer.claims.client_id
    if path is not None:
        return value_at(claims, path)
    # A malformed claim is not skipped for the next.
    for name in _CLIENT_ID:
        if name in claims:
            return claims[name]
    return None


def _is_without_user(claims: Mapping[str, Any], client_id: str, account_claim: str) -> bool:
    """Return whether a token is of its client alone.

    RFC 9068 section 2.2: `sub` is then the client. `idtyp` (Entra ID) and `gty` (Auth0) say so; without `sub` and
    account claim, a token names no user at all.
    """
    if "sub" not in claims:
        return not _has(claims, account_claim) and _OF_PEOPLE.isdisjoint(claims)
    return claims["sub"] == client_id or claims.get("idtyp") == "app" or claims.get("gty") == "client-credentials"


def _has(claims: Mapping[str, Any], path: str) -> bool:
    """Return whether a claim is present, even if it is null: a malformed name is not a missing one."""
    return path in claims or value_at(claims, path) is not None


def _claim(claims: Mapping[str, Any], path: str) -> str:
    what = "sub" if path == "sub" else "account claim"
    value = _printable(value_at(claims, path), what, MAX_NAME, path, (path,))
    if value.startswith(CLIENT_PREFIX):
        raise invalid(f"its {what} begins with {CLIENT_PREFIX}, which names clients", check=path, found=value)
    return value


def _printable(value: object, what: str, limit: int, check: str, claims: Iterable[str]) -> str:
    """Return a name that a claim has, or refuse it; `claims` are the ones that may have it."""
    if value is None:
        raise invalid(f"its {what} is missing", check=check, accepted=claims)
    if not isinstance(value, str) or not value:
        raise invalid(f"its {what} is not a text with characters", check=check, found=value)
    if len(value) > limit:
        raise invalid(f"its {what} has more than {limit} characters", check=check, found=len(value))
    # Control or invisible characters, or blanks at the ends, would make two names look alike. Of blanks only the space
    # is printable.
    if not value.isprintable() or value[0] == " " or value[-1] == " ":
        raise invalid(f"its {what} has unprintable characters or blanks at its ends", check=check, found=value)
    return value
