"""Keys of an issuer with tenants: a key that names an issuer verifies tokens of that issuer only. Pure.

Entra ID publishes one key set for all tenants, in which each key has a member `issuer`: with the placeholder
`{tenantid}` the key is of every tenant, else of the tenant that it names. RFC 7517 section 4 permits such members.
The key set of a single tenant lists keys of others as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from sidecar.config.settings.issuer_access import PLACEHOLDER
from sidecar.identity.jwt.key_set import MAX_LISTED, KeyTable


class TenantKeyTable:
    """Usable keys of an issuer with tenants at one time; immutable, compared by identity.

    Args:
        document: the parsed JWK set (RFC 7517 section 5).
        algorithms: the issuer's permitted algorithms.

    Raises:
        ValueError: this is no JWK set, or none of its keys is usable; the message contains no key.
    """

    def __init__(self, document: object, algorithms: Iterable[str]) -> None:
        permitted = tuple(algorithms)
        self._size = len(KeyTable(document, permitted))
        listed = document["keys"][:MAX_LISTED] if isinstance(document, dict) else []
        grouped: dict[str | None, list[object]] = {}
        for key in listed:
            grouped.setdefault(_owner(key), []).append(key)
        self._shared = _tables(grouped.pop(None, []), permitted)
        self._own = {owner: (*_tables(keys, permitted), *self._shared) for owner, keys in grouped.items()}

    def __len__(self) -> int:
        return self._size

    def of(self, issuer: str) -> tuple[KeyTable, ...]:
        """Return the keys of one tenant: its own, then those of every tenant.

        Args:
            issuer: the identifier of that tenant, as in `iss`.
        """
        return self._own.get(issuer, self._shared)


def without_foreign_keys(document: object, issuer: str) -> object:
    """Return the key set of one issuer without the keys that name another issuer on its host.

    A member `issuer` of any other form is not understood, and so ignored.

    Args:
        document: the parsed JWK set; anything else is returned as it is.
        issuer: the identifier of the issuer.
    """
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(document, dict) or not isinstance(listed, list):
        return document
    return {**document, "keys": [key for key in listed[:MAX_LISTED] if not _is_foreign(_owner(key), issuer)]}


def _is_foreign(owner: str | None, issuer: str) -> bool:
    if not owner or owner == issuer:
        return False
    try:
        own, other = urlsplit(issuer), urlsplit(owner)
    except ValueError:
        return False
    return (own.scheme, own.netloc) == (other.scheme, other.netloc)


def _owner(key: object) -> str | None:
    """Return the issuer that a JWK names; None for a key of every tenant."""
    named = key.get("issuer") if isinstance(key, dict) else None
    if named is None or (isinstance(named, str) and PLACEHOLDER in named):
        return None
    return named if isinstance(named, str) else ""  # a malformed member: a key of no tenant


def _tables(keys: list[object], algorithms: tuple[str, ...]) -> tuple[KeyTable, ...]:
    try:
        return (KeyTable({"keys": keys}, algorithms),)
    except ValueError:  # none of them is usable
        return ()
