"""An issuer of tokens, good and bad, and the HTTP server that publishes its keys.

    async with Issuer() as issuer:
        token = issuer.mint(scopes=["stores:read"])   # a good one
        issuer.mint(exp=None)                         # one without `exp`
        issuer.rotate()                               # sign with a new key from now on
        issuer.fault = 503                            # every document is answered 503
        assert issuer.key_fetches == 1

Without `async with` it mints and lists its keys just the same, under `ISSUER`, and serves nothing.
Tokens are put together here, not by a library, so that what no library would make can be made.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import json
import secrets
import ssl
import time
from collections.abc import Callable, Iterable
from typing import Any, Final, Self

from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

Json = dict[str, Any]

ISSUER: Final = "https://issuer.example/api/auth"
RESOURCE: Final = "https://mcp.example.com/mcp"
SCOPES: Final = ("usage:read", "stores:read", "contacts:search", "contacts:reveal")
PATH: Final = "/api/auth"

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@functools.cache
def _private_key(kind: str, bits: int, number: int) -> PrivateKey:
    """Making RSA keys is slow, so the nth key of a kind is the same in all tests of a process."""
    if kind == "RSA":
        return rsa.generate_private_key(public_exponent=65537, key_size=bits)
    if kind == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    curves: dict[str, ec.EllipticCurve] = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
    return ec.generate_private_key(curves[kind])


def encode(data: bytes | str | Json) -> str:
    """Bytes as they are, text as UTF-8, a mapping as JSON: in base64url without padding."""
    if isinstance(data, dict):
        data = json.dumps(data, separators=(",", ":"))
    if isinstance(data, str):
        data = data.encode("utf-8", "surrogatepass")
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Signer:
    """One signing key.

    Args:
        algorithm: RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA Ed25519.
        kid: its name; a new one when omitted.
        bits: the length of an RSA key.
        number: signers of one kind with different numbers have different keys.
    """

    def __init__(self, algorithm: str = "RS256", kid: str | None = None, *, bits: int = 2048, number: int = 0) -> None:
        self.algorithm = algorithm
        self.kid = kid or secrets.token_urlsafe(6)
        library = "EdDSA" if algorithm == "Ed25519" else algorithm  # one algorithm, two names (RFC 9864)
        kind = "RSA" if algorithm.startswith(("RS", "PS")) else library
        self._key: Any = _private_key(kind, bits, number)
        self._signs = get_default_algorithms()[library]
        public: Json = dict(self._signs.to_jwk(self._key.public_key(), as_dict=True))
        public.pop("key_ops", None)
        self.jwk: Json = {**public, "kid": self.kid, "alg": algorithm, "use": "sig"}
        """The published JWK; a test may change it."""

    @property
    def private_jwk(self) -> Json:
        """The key with its secret half, which must never be published."""
        return {**self._signs.to_jwk(self._key, as_dict=True), "kid": self.kid, "alg": self.algorithm}

    def signature(self, signed: bytes) -> bytes:
        """The signature of these bytes."""
        return bytes(self._signs.sign(signed, self._key))

    def sign(self, header: bytes | str | Json, payload: bytes | str | Json) -> str:
        """A compact JWS of a header and a payload that may be any bytes."""
        signed = f"{encode(header)}.{encode(payload)}"
        return f"{signed}.{encode(self.signature(signed.encode()))}"


class Issuer:
    """An authorization server that mints tokens and publishes its keys and metadata.

    Args:
        signers: its keys, oldest first; tokens are signed with the last. One RS256 key when omitted.
        resource: the audience of tokens.
        clock: seconds since the epoch, for `iat` and `exp`.
        tls: serve https with this context.

    Attributes:
        url: the issuer identifier; its server's own once it is served.
        keys: the JWKs that are published; None publishes those of `signers`.
        fault: a status to answer every document with, instead of the document.
        body: bytes to answer the key set with, instead of the key set.
        metadata: members that replace or (when None) remove those of the metadata.
        well_known: which metadata locations exist: `oauth`, `openid` (both inserted), `appended`.
        headers: further headers of every answer.
        content_type: of every answer.
        hold: unless it is set, the key set is not answered; waits at most 30 seconds.
        requests: the paths asked for, in order.
        request_headers: the headers of each of them, names in lower case.
    """

    def __init__(
        self,
        *signers: Signer,
        resource: str = RESOURCE,
        clock: Callable[[], float] = time.time,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.signers = list(signers) or [Signer()]
        self.resource = resource
        self.url = ISSUER
        self.keys: list[Any] | None = None
        self.fault: int | None = None
        self.content_type = "application/json"
        self.body: bytes | None = None
        self.metadata: Json = {}
        self.well_known = {"oauth", "openid", "appended"}
        self.headers: dict[str, str] = {}
        self.hold = asyncio.Event()
        self.hold.set()
        self.requests: list[str] = []
        self.request_headers: list[dict[str, str]] = []
        self._clock = clock
        self._tls = tls
        self._server: TestServer | None = None
        self._port: int | None = None
        self._rotations = 0

    # --- tokens ------------------------------------------------------------------------------

    @property
    def signer(self) -> Signer:
        """The key that signs."""
        return self.signers[-1]

    def rotate(self, signer: Signer | None = None, *, drop: bool = False) -> Signer:
        """Sign with another key from now on; the older ones stay published unless dropped."""
        self._rotations += 1
        new = signer or Signer(self.signer.algorithm, number=self._rotations)
        self.signers = [new] if drop else [*self.signers, new]
        return new

    def claims(
        self,
        *,
        subject: str = "ada",
        client_id: str = "cli-1",
        scopes: Iterable[str] = SCOPES,
        audience: str | list[str] | None = None,
        lifetime: int = 900,
        age: int = 0,
        **claims: Any,
    ) -> Json:
        """The claims of a good access token (RFC 9068).

        Args:
            subject: `sub`.
            client_id: `client_id`.
            scopes: `scope`, joined.
            audience: `aud`; the resource when omitted.
            lifetime: seconds from `iat` to `exp`.
            age: seconds since `iat`; with `age > lifetime` the token has expired.
            claims: added last, so they replace any other; None removes one.
        """
        issued = int(self._clock()) - age
        made: Json = {
            "iss": self.url,
            "sub": subject,
            "aud": self.resource if audience is None else audience,
            "client_id": client_id,
            "scope": " ".join(scopes),
            "iat": issued,
            "exp": issued + lifetime,
            "jti": secrets.token_urlsafe(9),
            **claims,
        }
        return {name: value for name, value in made.items() if value is not None}

    def header(self, signer: Signer | None = None, **parameters: Any) -> Json:
        """The header of a good access token; further parameters replace or (None) remove."""
        chosen = signer or self.signer
        made: Json = {"alg": chosen.algorithm, "typ": "at+jwt", "kid": chosen.kid, **parameters}
        return {name: value for name, value in made.items() if value is not None}

    def mint(self, *, signer: Signer | None = None, header: Json | None = None, **claims: Any) -> str:
        """A token, by default a good one.

        Args:
            signer: another key than the newest, such as one that was never published.
            header: header parameters that replace or (None) remove the usual ones.
            claims: see `claims`.
        """
        chosen = signer or self.signer
        return chosen.sign(self.header(chosen, **(header or {})), self.claims(**claims))

    def bearer(self, **claims: Any) -> dict[str, str]:
        """The request header that carries a token; the arguments are those of `mint`."""
        return {"Authorization": f"Bearer {self.mint(**claims)}"}

    # --- documents ---------------------------------------------------------------------------

    @property
    def jwks_uri(self) -> str:
        """URL of the key set."""
        return f"{self.url}/jwks"

    @property
    def jwks(self) -> Json:
        """The key set."""
        return {"keys": [signer.jwk for signer in self.signers] if self.keys is None else self.keys}

    @property
    def key_fetches(self) -> int:
        """Number of fetches of the key set."""
        return sum(path.endswith("/jwks") for path in self.requests)

    def document(self) -> Json:
        """The authorization server metadata (RFC 8414)."""
        made = {"issuer": self.url, "jwks_uri": self.jwks_uri, "response_types_supported": ["code"], **self.metadata}
        return {name: value for name, value in made.items() if value is not None}

    # --- serving -----------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Serve the documents, on the same port as before if they were served before."""
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        self._server = TestServer(app, port=self._port)
        await self._server.start_server(ssl=self._tls, access_log=None, shutdown_timeout=0.1)
        self._port = self._server.port
        self.url = str(self._server.make_url(PATH))

    async def stop(self) -> None:
        """Serve nothing; connections are refused. `start` serves again."""
        if self._server is not None:
            await self._server.close()
            self._server = None

    async def _answer(self, request: web.Request) -> web.Response:
        path = request.path
        self.requests.append(path)
        self.request_headers.append({name.lower(): value for name, value in request.headers.items()})
        known = {
            f"/.well-known/oauth-authorization-server{PATH}": "oauth",
            f"/.well-known/openid-configuration{PATH}": "openid",
            f"{PATH}/.well-known/openid-configuration": "appended",
        }
        if path == f"{PATH}/jwks":
            async with asyncio.timeout(30):
                await self.hold.wait()
            body = json.dumps(self.jwks).encode() if self.body is None else self.body
        elif known.get(path) in self.well_known:
            body = json.dumps(self.document()).encode()
        else:
            return web.Response(status=404)
        if self.fault is not None:
            return web.Response(status=self.fault, headers=self.headers)
        return web.Response(body=body, headers=self.headers, content_type=self.content_type)
