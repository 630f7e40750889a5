"""Published keys: which of an issuer's JWKs may verify access tokens, and whether one does.

A key set is judged key by key, so one that cannot be used never costs the others. Pure functions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWK, PyJWTError

ASYMMETRIC: Final = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)
"""Every algorithm that can be allowed. With a symmetric one, whoever verifies can also sign."""

MAX_KEYS: Final = 64
"""Keys of one set that are looked at; the rest is ignored."""
MAX_TRIED: Final = 4
"""Keys that are tried for one token, where its `kid` is missing or names several."""

_RSA: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
# By `kty` and `crv`. An ECDSA algorithm is bound to its curve (RFC 7518 section 3.4).
_FITTING: Final[Mapping[tuple[str, str | None], tuple[str, ...]]] = {
    ("RSA", None): _RSA,
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
}
# What a JWK holds only when its secret half was published with it (RFC 7518 section 6): anybody
# could have signed with such a key.
_SECRETS: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})

# Moduli of that generator are powers of 65537 for each of these primes; of all others hardly one in 2^27 is.
_ROCA: Final = {
    prime: frozenset(pow(65537, exponent, prime) for exponent in range(prime - 1))
    for prime in range(3, 168)
    if all(prime % divisor for divisor in range(2, 13) if divisor < prime)
}

_JWS: Final = jwt.PyJWS(options={"verify_signature": True, "enforce_minimum_key_length": True})


class KeyTable:
    """The usable keys of one issuer at one time; immutable, compared by identity.

    Args:
        document: the parsed JWK set (RFC 7517 section 5).
        algorithms: what the issuer may sign with.

    Raises:
        ValueError: this is no JWK set, or none of its keys can be used; the message has no key in it.
    """

    def __init__(self, document: object, algorithms: Iterable[str]) -> None:
        listed = document.get("keys") if isinstance(document, dict) else None
        if not isinstance(listed, list):
            raise ValueError("not a JWK set")
        allowed = ASYMMETRIC.intersection(algorithms)
        by_name: dict[tuple[str | None, str], list[PyJWK]] = {}
        by_algorithm: dict[str, list[PyJWK]] = {}
        self._size = 0
        for jwk in listed[:MAX_KEYS]:
            bound = list(_usable(jwk, allowed))
            self._size += bool(bound)
            for key in bound:
                by_name.setdefault((key.key_id, key.algorithm_name), []).append(key)
                by_algorithm.setdefault(key.algorithm_name, []).append(key)
        if not self._size:
            raise ValueError("no usable key in the JWK set")
        self._names = frozenset(name for name, _ in by_name)
        self._by_name = {name: tuple(keys[:MAX_TRIED]) for name, keys in by_name.items()}
        self._by_algorithm = {name: tuple(keys) for name, keys in by_algorithm.items()}

    def __len__(self) -> int:
        return self._size

    def verifies(self, token: str, kid: str | None, algorithm: str) -> bool | None:
        """Whether a key of this set made the token's signature.

        Args:
            token: the compact JWS.
            kid: its `kid`; without one, every key of the algorithm is tried if they are few.
            algorithm: its `alg`.

        Returns:
            True or False; None when no such key is known here, so that a newer set may say more.
        """
        if kid is not None:
            # A known key under an algorithm that is not its own is an attack, not a rotation.
            return _signed(token, self._by_name.get((kid, algorithm), ()), algorithm) if kid in self._names else None
        keys = self._by_algorithm.get(algorithm, ())
        if len(keys) > MAX_TRIED:
            return False
        return _signed(token, keys, algorithm) or None


def _signed(token: str, keys: Iterable[PyJWK], algorithm: str) -> bool:
    for key in keys:
        try:
            _JWS.decode_complete(token, key, algorithms=[algorithm])
        except (PyJWTError, ValueError, TypeError):
            continue
        return True
    return False


def _usable(jwk: object, allowed: frozenset[str]) -> Iterator[PyJWK]:
    """One key per algorithm that this JWK may verify; none when it may verify nothing."""
    if not isinstance(jwk, dict) or not _for_signatures(jwk):
        return
    for algorithm in _algorithms(jwk):
        if algorithm not in allowed:
            continue
        try:
            key = PyJWK(jwk, algorithm=algorithm)
            weak = key.Algorithm.check_key_length(key.key) or _factorable(key.key)
        # One bad key must not cost the others, whichever of its two libraries trips over it.
        except (PyJWTError, ValueError, TypeError, KeyError, NotImplementedError, OverflowError, UnsupportedAlgorithm):
            continue
        if not weak:
            yield key


def _factorable(key: object) -> bool:
    """Whether an RSA key has the mark of a generator whose keys can be factored (ROCA, CVE-2017-15361)."""
    if not isinstance(key, RSAPublicKey):
        return False
    modulus = key.public_numbers().n
    return all(modulus % prime in remainders for prime, remainders in _ROCA.items())


def _for_signatures(jwk: Mapping[str, Any]) -> bool:
    """Whether `use` and `key_ops` let it verify (RFC 7517 sections 4.2 and 4.3) and it is public."""
    operations = jwk.get("key_ops", ["verify"])
    return (
        jwk.get("use", "sig") == "sig"
        and isinstance(operations, list)
        and "verify" in operations
        and not _SECRETS.intersection(jwk)
        and isinstance(jwk.get("kid", ""), str)
    )


def _algorithms(jwk: Mapping[str, Any]) -> tuple[str, ...]:
    """The algorithms that fit the key's type, narrowed by its own `alg` (RFC 7517 section 4.4)."""
    kty, crv = jwk.get("kty"), jwk.get("crv")
    if not isinstance(kty, str) or not isinstance(crv, str | None):
        return ()
    fitting = _FITTING.get((kty, None if kty == "RSA" else crv), ())
    own = jwk.get("alg")
    return fitting if own is None else tuple(name for name in fitting if name == own)
