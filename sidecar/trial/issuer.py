"""A small OAuth 2.1 authorization server that issues the tokens of trials, the demo and tests.

Its metadata and its key set are marked, so that a sidecar with a public resource refuses it. It implements what MCP
clients need (RFC 8414 metadata, RFC 7591 registration, authorization code with PKCE, RFC 8707 resources, RFC 9207
`iss`, rotated refresh tokens, RFC 7009 revocation) for public clients, and keeps everything in memory. It signs in
`TrialIssuer.person` without asking: there is no login, no approval page and no rate limit.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar
from urllib.parse import urlencode, urlsplit

from sidecar.identity.jwt.trial_mark import TRIAL
from sidecar.trial.oauth import (
    ApprovedClient,
    Code,
    OAuthClient,
    OAuthError,
    OAuthGrant,
    Refresh,
    Signer,
    proves,
    redirectable,
)

CODE_LIFETIME: Final = 60.0
"""Seconds for which an authorization code is valid."""
MAX_ENTRIES: Final = 1000
"""Registered clients, codes and refresh tokens of each kind; the oldest is forgotten."""
_OFFLINE: Final = "offline_access"
_OPENID: Final = "openid"

Params = dict[str, str]
T = TypeVar("T")


@dataclass(slots=True)
class TrialIssuer:
    """State of the authorization server, with settings that the demo and tests change.

    Attributes:
        resources: resources for which access tokens are issued; any other `resource` is `invalid_target`.
        person: the signed-in subject, which approves.
        approves: the scopes that this person approves; None approves all known ones. A client that requests only
            scopes outside of it gets `access_denied`.
        scopes: the known scopes, which a request without scopes gets; others are ignored (RFC 6749 section 3.3).
        any_scope: issue every requested scope.
        lifetime: seconds for which an access token is valid.
        on_approval: awaited before a client gets its code.
        person_claims: claims of ID tokens and userinfo about the person, added last; None removes a claim.
        url: the issuer identifier; set while it is served.
        keys_down: answer 503 instead of the key set.
        key_fetches: number of requests for the key set.
    """

    resources: tuple[str, ...] = ()
    person: str = "ada"
    approves: frozenset[str] | None = None
    scopes: tuple[str, ...] = ()
    any_scope: bool = False
    lifetime: int = 900
    on_approval: Callable[[ApprovedClient], Awaitable[None]] | None = None
    person_claims: dict[str, Any] = field(default_factory=dict)
    url: str = ""
    keys_down: bool = False
    key_fetches: int = 0
    keys: list[Signer] = field(default_factory=lambda: [Signer()])
    _clients: dict[str, OAuthClient] = field(default_factory=dict)
    _codes: dict[str, Code] = field(default_factory=dict)
    _refreshes: dict[str, Refresh] = field(default_factory=dict)

    # --- operations of the demo and tests --------------------------------------------------

    def mint(
        self,
        *,
        subject: str | None = None,
        client_id: str | None = None,
        scopes: Iterable[str] | None = None,
        audience: str | list[str] | None = None,
        lifetime: int | None = None,
        signer: Signer | None = None,
        typ: str = "at+jwt",
        **claims: Any,
    ) -> str:
        """Issue an access token without any flow, by default a valid one for the first resource.

        Args:
            subject: None for `person`.
            client_id: None for `trial`.
            scopes: None for the known ones.
            audience: None for the first resource.
            lifetime: seconds; None for that of the issuer; a negative one makes an expired token.
            signer: another key than the newest, such as an unpublished one.
            typ: of the header.
            claims: added last, so they replace other claims; None removes a claim.
        """
        now = int(time.time())
        made: dict[str, Any] = {
            "iss": self.url,
            "sub": subject or self.person,
            "aud": audience or self.resources[0],
            "client_id": client_id or "trial",
            "scope": " ".join(self.scopes if scopes is None else scopes),
            "iat": now,
            "exp": now + (self.lifetime if lifetime is None else lifetime),
            "jti": secrets.token_urlsafe(12),
            **claims,
        }
        return (signer or self.keys[-1]).sign({k: v for k, v in made.items() if v is not None}, typ)

    def add_client(self, client_id: str, *redirect_uris: str) -> None:
        """Register a client by hand, such as that of the account page."""
        _remember(self._clients, client_id, OAuthClient(client_id, redirect_uris))

    def rotate(self) -> Signer:
        """Sign with a new key from now on; older keys stay published."""
        self.keys.append(Signer(self.keys[-1].algorithm))
        return self.keys[-1]

    def revoke(self, subject: str, client_id: str) -> int:
        """End this person's grants for this client, so that no refresh succeeds; return the number of ended grants.

        Access tokens stay valid until they expire, as with every issuer: the sidecar's consent record stops them at
        once.
        """
        entries: list[Code | Refresh] = [*self._codes.values(), *self._refreshes.values()]
        grants = {id(entry.grant): entry.grant for entry in entries}
        ended = [
            grant
            for grant in grants.values()
            if (grant.subject, grant.client_id) == (subject, client_id) and not grant.revoked
        ]
        for grant in ended:
            grant.revoked = True
        return len(ended)

    # --- operations of the endpoints -------------------------------------------------------

    def metadata(self) -> dict[str, Any]:
        """Return the authorization server metadata (RFC 8414 section 2)."""
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/oauth2/authorize",
            "token_endpoint": f"{self.url}/oauth2/token",
            "registration_endpoint": f"{self.url}/oauth2/register",
            "revocation_endpoint": f"{self.url}/oauth2/revoke",
            "userinfo_endpoint": f"{self.url}/oauth2/userinfo",
            "jwks_uri": f"{self.url}/jwks",
            "scopes_supported": [_OPENID, _OFFLINE, *self.scopes],
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "token_endpoint_auth_methods_supported": ["none"],
            "revocation_endpoint_auth_methods_supported": ["none"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
            TRIAL: True,
        }

    def register(self, document: object) -> dict[str, Any]:
        """Register a public client (RFC 7591 section 3.1)."""
        wanted = document if isinstance(document, dict) else {}
        uris = wanted.get("redirect_uris")
        if not isinstance(uris, list) or not uris or not all(redirectable(uri) for uri in uris):
            raise OAuthError("invalid_redirect_uri", "redirect_uris must use https, or http on this machine.")
        client_id = f"client-{secrets.token_hex(6)}"  # fits on a command line
        name = wanted.get("client_name")
        _remember(self._clients, client_id, OAuthClient(name if isinstance(name, str) else client_id, tuple(uris)))
        return {
            "client_id": client_id,
            "client_id_issued_at": int(time.time()),
            "client_name": self._clients[client_id].name,
            "redirect_uris": uris,
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
        }

    async def authorize(self, params: Params) -> str:
        """Approve an authorization request as `person`; return the URL to redirect the browser to.

        Raises:
            OAuthError: client or redirect URI are unknown, so there is no URL to redirect to.
        """
        client_id, redirect_uri = params.get("client_id", ""), params.get("redirect_uri", "")
        client = self._clients.get(client_id)
        if client is None or redirect_uri not in client.redirect_uris:
            raise OAuthError("invalid_request", "This client or its redirect URI is not registered.")
        try:
            answer = {"code": await self._approve(client_id, client, redirect_uri, params)}
        except OAuthError as error:
            answer = {"error": error.code, "error_description": error.description}
        if "state" in params:
            answer["state"] = params["state"]
        joint = "&" if urlsplit(redirect_uri).query else "?"
        return f"{redirect_uri}{joint}{urlencode({**answer, 'iss': self.url})}"

    async def _approve(self, client_id: str, client: OAuthClient, redirect_uri: str, params: Params) -> str:
        if params.get("response_type") != "code":
            raise OAuthError("unsupported_response_type", "Only response_type=code is supported.")
        challenge = params.get("code_challenge", "")
        if params.get("code_challenge_method") != "S256" or not challenge:
            raise OAuthError("invalid_request", "PKCE with S256 is required.")
        grant = OAuthGrant(client_id, self.person, self._approved(params.get("scope")), self._resource(params))
        business = tuple(scope for scope in grant.scopes if scope not in (_OPENID, _OFFLINE))
        if self.on_approval is not None and business:  # a login alone approves nothing
            await self.on_approval(ApprovedClient(self.person, client_id, client.name, business))
        code = secrets.token_urlsafe(24)
        ends = time.monotonic() + CODE_LIFETIME
        _remember(self._codes, code, Code(grant, challenge, redirect_uri, ends, nonce=params.get("nonce")))
        return code

    def _approved(self, asked: str | None) -> tuple[str, ...]:
        names = self.scopes if asked is None else tuple(dict.fromkeys(asked.split()))
        standing = {_OPENID, _OFFLINE}
        known = set(names) if self.any_scope else set(self.scopes)
        willing = known if self.approves is None else known & self.approves
        approved = tuple(name for name in names if name in willing | standing)
        if not approved or (set(names) - standing and not set(approved) - standing and not self.any_scope):
            raise OAuthError("access_denied", "None of these scopes was approved.")
        return approved

    def _resource(self, params: Params) -> str:
        resource = params.get("resource") or self.resources[0]
        if resource not in self.resources:
            raise OAuthError("invalid_target", "This issuer does not issue tokens for this resource.")
        return resource

    def token(self, params: Params) -> dict[str, Any]:
        """Redeem a code or a refresh token (RFC 6749 sections 4.1.3 and 6)."""
        if params.get("client_id", "") not in self._clients:
            raise OAuthError("invalid_client", "This client is not registered.", 401)
        kind = params.get("grant_type")
        if kind == "authorization_code":
            code = self._redeem(params)
            answer = self._issue(code.grant, self._narrowed(code.grant, params.get("scope")))
            return {**answer, "id_token": self._id_token(code)} if _OPENID in code.grant.scopes else answer
        if kind == "refresh_token":
            grant = self._refresh(params)
        else:
            raise OAuthError("unsupported_grant_type", "Supported: authorization_code, refresh_token.")
        return self._issue(grant, self._narrowed(grant, params.get("scope")))

    def userinfo(self, token: str) -> dict[str, Any]:
        """Return the claims about the person of an access token (OpenID Connect Core 1.0 section 5.3)."""
        claims = next(filter(None, (key.claims(token) for key in self.keys)), None)
        if claims is None or f"{self.url}/oauth2/userinfo" not in claims.get("aud", ""):
            raise OAuthError("invalid_token", "This token is not one for userinfo.", 401)
        return {"sub": claims["sub"], **self.person_claims}

    def _id_token(self, code: Code) -> str:
        claims = {"aud": code.grant.client_id, "client_id": None, "scope": None, "nonce": code.nonce}
        return self.mint(subject=code.grant.subject, typ="JWT", **{**claims, **self.person_claims})

    def _redeem(self, params: Params) -> Code:
        code = self._codes.get(params.get("code", ""))
        if code is None or code.expires < time.monotonic() or code.grant.revoked:
            raise OAuthError("invalid_grant", "This code is unknown or expired.")
        if (code.grant.client_id, code.redirect_uri) != (params["client_id"], params.get("redirect_uri")):
            raise OAuthError("invalid_grant", "This code belongs to another client or redirect URI.")
        self._once(code)
        if not proves(params.get("code_verifier", ""), code.challenge):
            raise OAuthError("invalid_grant", "The code verifier does not match.")
        self._check_resource(code.grant, params)
        return code

    def _refresh(self, params: Params) -> OAuthGrant:
        entry = self._refreshes.get(params.get("refresh_token", ""))
        if entry is None or entry.grant.revoked or entry.grant.client_id != params["client_id"]:
            raise OAuthError("invalid_grant", "This refresh token is unknown.")
        self._check_resource(entry.grant, params)
        self._once(entry)
        return entry.grant

    @staticmethod
    def _once(entry: Code | Refresh) -> None:
        """Use a code or refresh token; a second use ends the grant, because one of the two users is a thief."""
        if entry.used:
            entry.grant.revoked = True
            raise OAuthError("invalid_grant", "This code or token was already used; approve again.")
        entry.used = True

    @staticmethod
    def _check_resource(grant: OAuthGrant, params: Params) -> None:
        if params.get("resource", grant.resource) != grant.resource:
            raise OAuthError("invalid_target", "This approval is for another resource.")

    @staticmethod
    def _narrowed(grant: OAuthGrant, asked: str | None) -> tuple[str, ...]:
        names = grant.scopes if asked is None else tuple(dict.fromkeys(asked.split()))
        if not set(names) <= set(grant.scopes):
            raise OAuthError("invalid_scope", "These scopes were not approved.")
        return names

    def _issue(self, grant: OAuthGrant, scopes: tuple[str, ...]) -> dict[str, Any]:
        # With openid the token is also for the userinfo endpoint: the resource is one of two audiences.
        audience = [grant.resource, f"{self.url}/oauth2/userinfo"] if _OPENID in scopes else grant.resource
        business = [scope for scope in scopes if scope != _OFFLINE]
        access = self.mint(subject=grant.subject, client_id=grant.client_id, scopes=business, audience=audience)
        answer: dict[str, Any] = {
            "access_token": access,
            "token_type": "Bearer",
            "expires_in": self.lifetime,
            "scope": " ".join(scopes),
        }
        if _OFFLINE in grant.scopes:
            refresh = secrets.token_urlsafe(24)
            _remember(self._refreshes, refresh, Refresh(grant))
            answer["refresh_token"] = refresh
        return answer

    def forget(self, params: Params) -> None:
        """Revoke a refresh token and its grant (RFC 7009); an unknown one is no error."""
        entry = self._refreshes.get(params.get("token", ""))
        if entry is not None and entry.grant.client_id == params.get("client_id"):
            entry.grant.revoked = True


def _remember(entries: dict[str, T], key: str, entry: T) -> None:
    """Add an entry, and drop the oldest one of too many: any local program can add entries."""
    entries[key] = entry
    if len(entries) > MAX_ENTRIES:
        del entries[next(iter(entries))]
