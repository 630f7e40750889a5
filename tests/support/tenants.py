"""An authorization server for many tenants, as Entra ID and realms of Keycloak are.

async with TenantServer("contoso", "fabrikam") as server:
    server.mint("contoso", sub="ada")
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Self

from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.support.issuer import RESOURCE, Issuer, Signer

Json = dict[str, Any]


class TenantServer:
    """Metadata and keys of tenants, and of `common`, which has the keys of all.

    Args:
        tenants: their names.
        resource: the audience of tokens.
        clock: seconds since the epoch.

    Attributes:
        own: the `issuer` member of each tenant's keys in the set of `common`; None leaves it out.
        requests: the paths asked for, in order.
    """

    def __init__(self, *tenants: str, resource: str = RESOURCE, clock: Callable[[], float] = time.time) -> None:
        self.signers = {tenant: Signer(kid=f"{tenant}-key", number=place) for place, tenant in enumerate(tenants)}
        self.own: dict[str, str | None] = {}
        self.resource = resource
        self.requests: list[str] = []
        self._clock = clock
        self._server: TestServer | None = None
        self.origin = ""

    @property
    def template(self) -> str:
        """The `issuer` of the config."""
        return self.issuer("{tenantid}")

    def issuer(self, tenant: str) -> str:
        """The `iss` of a tenant's tokens."""
        return f"{self.origin}/{tenant}/v2.0"

    def mint(self, tenant: str, *, signer: Signer | None = None, **claims: Any) -> str:
        """A token of a tenant, signed with its key; the arguments are those of `Issuer.mint`."""
        issuer = Issuer(self.signers[tenant], resource=self.resource, clock=self._clock)
        return issuer.mint(signer=signer, **{"iss": self.issuer(tenant), **claims})

    def bearer(self, tenant: str, **claims: Any) -> list[str]:
        """The value of the header that carries a token."""
        return [f"Bearer {self.mint(tenant, **claims)}"]

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/{tenant}/v2.0/.well-known/openid-configuration", self._metadata)
        app.router.add_get("/{tenant}/keys", self._keys)
        self._server = TestServer(app)
        await self._server.start_server(access_log=None, shutdown_timeout=0.1)
        self.origin = str(self._server.make_url("")).rstrip("/")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        await self._server.close()

    async def _metadata(self, request: web.Request) -> web.Response:
        self.requests.append(request.path)
        tenant = request.match_info["tenant"]
        if tenant not in (*self.signers, "common"):
            return web.Response(status=400)
        issuer = self.template if tenant == "common" else self.issuer(tenant)
        return web.json_response({"issuer": issuer, "jwks_uri": f"{self.origin}/{tenant}/keys"})

    async def _keys(self, request: web.Request) -> web.Response:
        self.requests.append(request.path)
        tenant = request.match_info["tenant"]
        tenants = self.signers if tenant == "common" else [tenant]
        return web.json_response({"keys": [self.jwk(each) for each in tenants]})

    def jwk(self, tenant: str) -> Json:
        """The published key of a tenant: by default with its `iss` in the member `issuer`."""
        owner = self.own.get(tenant, self.issuer(tenant))
        return {**self.signers[tenant].jwk, **({} if owner is None else {"issuer": owner})}
