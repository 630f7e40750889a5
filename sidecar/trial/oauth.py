"""Records and keys of the trial issuer: grants, codes, refresh tokens, clients and signing keys."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm


@dataclass(frozen=True, slots=True)
class ApprovedClient:
    """Client that a person has approved, which an operator mirrors into the sidecar's store."""

    subject: str
    client_id: str
    client_name: str
    scopes: tuple[str, ...]


@dataclass(slots=True)
class OAuthGrant:
    """One approval, shared by its code and its refresh tokens."""

    client_id: str
    subject: str
    scopes: tuple[str, ...]
    resource: str
    revoked: bool = False


@dataclass(slots=True)
class Code:
    """An authorization code, with the values needed to redeem it; `nonce` is for the ID token."""

    grant: OAuthGrant
    challenge: str
    redirect_uri: str
    expires: float
    used: bool = False
    nonce: str | None = None


@dataclass(slots=True)
class Refresh:
    """A refresh token; each is used once."""

    grant: OAuthGrant
    used: bool = False


@dataclass(frozen=True, slots=True)
class OAuthClient:
    """A registered client."""

    name: str
    redirect_uris: tuple[str, ...]


class OAuthError(Exception):
    """An error answer of RFC 6749 section 5.2; `code` is one of its error codes."""

    def __init__(self, code: str, description: str, status: int = 400) -> None:
        super().__init__(code)
        self.code = code
        self.description = description
        self.status = status


class Signer:
    """A signing key with its `kid`; `algorithm` is RS256 or ES256."""

    def __init__(self, algorithm: str = "RS256") -> None:
        self.algorithm = algorithm
        self.kid = secrets.token_urlsafe(8)
        self._key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
        if algorithm == "RS256":
            self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
            public = RSAAlgorithm.to_jwk(self._key.public_key())
        elif algorithm == "ES256":
            self._key = ec.generate_private_key(ec.SECP256R1())
            public = ECAlgorithm.to_jwk(self._key.public_key())
        else:
            raise ValueError(f"algorithm {algorithm!r} is not supported; use RS256 or ES256")
        self.jwk: dict[str, Any] = {**json.loads(public), "kid": self.kid, "alg": algorithm, "use": "sig"}

    def sign(self, claims: dict[str, Any], typ: str = "at+jwt") -> str:
        """Return the claims as a compact JWS; `typ` goes into its header (RFC 9068 section 2.1)."""
        return jwt.encode(claims, self._key, algorithm=self.algorithm, headers={"kid": self.kid, "typ": typ})

    def claims(self, token: str) -> dict[str, Any] | None:
        """Return the claims of a token that this key has signed and that has not expired; None for any other."""
        options: Any = {"verify_aud": False}
        try:
            return dict(jwt.decode(token, self._key.public_key(), algorithms=[self.algorithm], options=options))
        except jwt.PyJWTError:
            return None


def redirectable(uri: object) -> bool:
    """Return whether redirects may go there: https, or http on this machine (RFC 8252)."""
    if not isinstance(uri, str):
        return False
    parts = urlsplit(uri)
    local = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1", "localhost")
    return (local or (parts.scheme == "https" and bool(parts.hostname))) and not parts.fragment


def proves(verifier: str, challenge: str) -> bool:
    """Return whether this is the verifier of an S256 challenge (RFC 7636 section 4.6)."""
    digest = hashlib.sha256(verifier.encode()).digest()
    made = base64.urlsafe_b64encode(digest).rstrip(b"=")
    return 43 <= len(verifier) <= 128 and hmac.compare_digest(made, challenge.encode())
