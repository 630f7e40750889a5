"""Published keys: select an issuer's JWKs that may verify access tokens, and verify with them.

A key set is judged key by key, so an unusable key does not affect the others. Pure functions.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm
from jwt import PyJWK, PyJWTError

from sidecar.vocabulary import record

ASYMMETRIC: Final = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"}
)
"""Every algorithm that can be allowed. Symmetric ones are excluded: their verifiers can also sign."""

MAX_KEYS: Final = 64
"""Keys of one set that may verify and are read; the rest is ignored."""
MAX_LISTED: Final = 1024
"""Keys of one set, of any kind, among which they are searched."""
MAX_TRIED: Final = 4
"""Keys that are tried for one token if its `kid` is missing or ambiguous."""

_RSA: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_PKCS1: Final = PKCS1v15()
_PKCS1_DIGESTS: Final[Mapping[str, HashAlgorithm]] = {"RS256": SHA256(), "RS384": SHA384(), "RS512": SHA512()}
# One algorithm with two names (RFC 9864 section 2.2), for keys and tokens alike.
_ED25519: Final = ("EdDSA", "Ed25519")
# By `kty` and `crv`. An ECDSA algorithm is bound to its curve (RFC 7518 section 3.4).
_FITTING: Final[Mapping[tuple[str, str | None], tuple[str, ...]]] = {
    ("RSA", None): _RSA,
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): _ED25519,
}
# Members that a JWK has only if its private half was published with it (RFC 7518 section 6): anyone could sign
# with such a key.
_SECRETS: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})

# Moduli of that generator are powers of 65537 modulo each of these primes; of others hardly one in 2^27 is.
_ROCA: Final = {
    prime: frozenset(pow(65537, exponent, prime) for exponent in range(prime - 1))
    for prime in range(3, 168)
    if all(prime % divisor for divisor in range(2, 13) if divisor < prime)
}


@record
class SignedText:
    """The signed part of a compact JWS, and its signature; None when that is not base64url."""

    message: bytes
    signature: bytes | None

    def __repr__(self) -> str:
        # Neither a log line nor a traceback may contain a token.
        return "SignedText(...)"


def signed_text(token: str) -> SignedText:
    """Take a compact JWS of ASCII apart."""
    message, _, segment = token.rpartition(".")
    return SignedText(message.encode(), decoded(segment))


@record
class _PublicKey:
    """A key for one algorithm.

    Attributes:
        kid: its `kid`.
        algorithm: its `alg`.
        key: the library's key.
        digest: the hash function of an algorithm with PKCS #1 padding, which almost all issuers use; None of others.
    """

    kid: str | None
    algorithm: str
    key: PyJWK
    digest: HashAlgorithm | None

    def signed(self, message: bytes, signature: bytes) -> bool:
        """Return whether this key made the signature."""
        key = self.key
        try:
            if self.digest is None:
                return key.Algorithm.verify(message, key.key, signature)
            key.key.verify(signature, message, _PKCS1, self.digest)  # as PyJWT does, without new objects each time
        except (InvalidSignature, PyJWTError, ValueError, TypeError):
            return False
        return True


class KeyTable:
    """Usable keys of one issuer at one time; immutable, compared by identity.

    Args:
        document: the parsed JWK set (RFC 7517 section 5).
        algorithms: the issuer's permitted algorithms.

    Raises:
        ValueError: this is no JWK set, or none of its keys is usable; the message contains no key.
    """

    def __init__(self, document: object, algorithms: Iterable[str]) -> None:
        listed = document.get("keys") if isinstance(document, dict) else None
        if not isinstance(listed, list):
            raise ValueError("not a JWK set")
        allowed = ASYMMETRIC.intersection(algorithms)
        by_name: dict[tuple[str | None, str], list[_PublicKey]] = {}
        by_algorithm: dict[str, list[_PublicKey]] = {}
        self._size = 0
        # Keys for other uses, of other types or for other algorithms do not count.
        for jwk in list(filter(_for_signatures, listed[:MAX_LISTED]))[:MAX_KEYS]:
            bound = list(_usable(jwk, allowed))
            self._size += bool(bound)
            for key in bound:
                by_name.setdefault((key.kid, key.algorithm), []).append(key)
                by_algorithm.setdefault(key.algorithm, []).append(key)
        if not self._size:
            raise ValueError("no usable key in the JWK set")
        self._names = frozenset(name for name, _ in by_name)
        self._by_name = {name: tuple(keys[:MAX_TRIED]) for name, keys in by_name.items()}
        self._by_algorithm = {name: tuple(keys) for name, keys in by_algorithm.items()}

    def __len__(self) -> int:
        return self._size

    def verifies(self, token: SignedText, kid: str | None, algorithm: str) -> bool | None:
        """Return whether a key of this set made the token's signature.

        Args:
            token: the signed text of the token.
            kid: its `kid`; without one, every key of the algorithm is tried if there are few.
            algorithm: its `alg`.

        Returns:
            True or False; None if no such key is known, so that a newer set may decide.
        """
        if kid in self._names and kid is not None:
            # A known key under another algorithm than its own is an attack, not a rotation.
            return _signed(token, self._by_name.get((kid, algorithm), ()))
        if kid is not None:
            # RFC 7517 section 4.5: a published key need not have a `kid`.
            return _signed(token, self._by_name.get((None, algorithm), ())) or None
        keys = self._by_algorithm.get(algorithm, ())
        if len(keys) > MAX_TRIED:
            return False
        return _signed(token, keys) or None

    def fault(self, kid: str | None, algorithm: str) -> str:
        """Return the reason for which `verifies` is False, as a clause."""
        if kid is None and len(self._by_algorithm.get(algorithm, ())) > MAX_TRIED:
            return f"it has no kid, and its issuer has more than {MAX_TRIED} keys for its algorithm"
        if kid is not None and (kid, algorithm) not in self._by_name:
            return "its kid names a key for another algorithm"
        return "its signature does not verify"


# base64url as base64; letters of base64 alone, and its padding, become one that neither has.
_AS_BASE64: Final = bytes.maketrans(b"-_+/=", b"+/***")
# By the number of letters in the last, incomplete group: its padding, and last letters without left-over bits.
_PADDING: Final = {2: b"==", 3: b"="}
_LAST: Final = {2: b"AQgw", 3: b"AEIMQUYcgkosw048"}


def decoded(segment: str) -> bytes | None:
    """Return the bytes of a base64url segment; None when it is not the one spelling of them (RFC 4648 section 3.5)."""
    # Padding, foreign letters and left-over bits would give one token many spellings.
    over = len(segment) % 4
    try:
        text = segment.encode("ascii").translate(_AS_BASE64)
        if not over:
            return binascii.a2b_base64(text, strict_mode=True)
        if over == 1 or text[-1] not in _LAST[over]:
            return None
        return binascii.a2b_base64(text + _PADDING[over], strict_mode=True)
    except ValueError:
        return None


def _signed(token: SignedText, keys: Iterable[_PublicKey]) -> bool:
    message, signature = token.message, token.signature
    if signature is not None:
        for key in keys:
            if key.signed(message, signature):
                return True
    return False


def _usable(jwk: Mapping[str, Any], allowed: frozenset[str]) -> Iterator[_PublicKey]:
    """Yield one key per algorithm that this JWK may verify."""
    for algorithm in _algorithms(jwk):
        if algorithm not in allowed:
            continue
        try:
            key = PyJWK(dict(jwk), algorithm="EdDSA" if algorithm in _ED25519 else algorithm)
            weak = key.Algorithm.check_key_length(key.key) or _factorable(key.key)
        # One bad key must not affect the others, whichever of the two libraries rejects it.
        except (PyJWTError, ValueError, TypeError, KeyError, NotImplementedError, OverflowError, UnsupportedAlgorithm):
            continue
        if not weak:
            yield _PublicKey(jwk.get("kid"), algorithm, key, _PKCS1_DIGESTS.get(algorithm))


def _factorable(key: object) -> bool:
    """Return whether an RSA key comes from a generator of factorable keys (ROCA, CVE-2017-15361)."""
    if not isinstance(key, RSAPublicKey):
        return False
    modulus = key.public_numbers().n
    return all(modulus % prime in remainders for prime, remainders in _ROCA.items())


def _for_signatures(jwk: object) -> bool:
    """Return whether type, `use` and `key_ops` let it verify (RFC 7517 sections 4.1 to 4.3), and it is public."""
    if not isinstance(jwk, dict):
        return False
    operations = jwk.get("key_ops", ["verify"])
    return (
        jwk.get("use", "sig") == "sig"
        and isinstance(operations, list)
        and "verify" in operations
        and not _SECRETS.intersection(jwk)
        and isinstance(jwk.get("kid", ""), str)
        and bool(_algorithms(jwk))
    )


def _algorithms(jwk: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the algorithms that fit the key's type, limited by its own `alg` (RFC 7517 section 4.4)."""
    kty, crv = jwk.get("kty"), jwk.get("crv")
    if not isinstance(kty, str) or not isinstance(crv, str | None):
        return ()
    fitting = _FITTING.get((kty, None if kty == "RSA" else crv), ())
    own = jwk.get("alg")
    if own is None or (fitting is _ED25519 and own in _ED25519):
        return fitting
    return tuple(name for name in fitting if name == own)
