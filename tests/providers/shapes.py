"""Tokens of the shapes that identity providers document, the configs of their pages, and a server that is all of them.

A fixture in `shapes/` has what a provider's own pages say: where its metadata is, how its keys look, and the header and
claims of its access, ID and refresh tokens, with the source of each. `iat`, `exp` and `iss` are filled in.
"""

from __future__ import annotations

import copy
import json
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.support.issuer import Signer

Json = dict[str, Any]

ROOT: Final = Path(__file__).parents[2]
SHAPES: Final = Path(__file__).parent / "shapes"
PAGES: Final = ROOT / "docs" / "providers"
RESOURCE: Final = "https://mcp.example.com/mcp"
OTHER: Final = "https://other.example.com/mcp"
LIFETIME: Final = 900
_YAML: Final = re.compile(r"```yaml\n(.*?)```", re.DOTALL)


@dataclass(frozen=True)
class Shape:
    """One provider: its page, and tokens as it issues them at `base` instead of its own host."""

    name: str
    fixture: Json
    base: str = ""
    without: str = ""
    """A setting of the page that is left out."""

    @property
    def page(self) -> Path:
        return PAGES / f"{self.fixture.get('page', self.name)}.md"

    @cached_property
    def text(self) -> str:
        return self.page.read_text("utf-8")

    @property
    def block(self) -> str:
        """The config of the page: its first YAML block, or the one that the fixture says."""
        return str(_YAML.findall(self.text)[self.fixture.get("block", 0)])

    @property
    def is_own(self) -> bool:
        """Return True if the page's config names this issuer; a variant shares the page of another."""
        return "page" not in self.fixture or "block" in self.fixture

    @property
    def is_jwt(self) -> bool:
        """Return True if access tokens are JWTs."""
        return not self.fixture.get("introspected")

    @property
    def issuer(self) -> str:
        return str(self.placed(self.fixture["issuer"]))

    @cached_property
    def signer(self) -> Signer:
        """The provider's key, published as its pages show it."""
        key = self.fixture["key"]
        made = Signer(key["algorithm"], f"{self.name}-1")
        for member in key.get("omit", ()):
            del made.jwk[member]
        made.jwk.update(self.placed(key.get("more", {})))
        return made

    def placed(self, value: Any) -> Any:
        """Put `base` in the place of the provider's host, wherever a value names it."""
        written = json.dumps(value).replace("{issuer}", self.fixture["issuer"])
        host = "{0.scheme}://{0.netloc}".format(urlsplit(self.fixture["issuer"]))
        return json.loads(written.replace(host, self.base or host))

    def settings(self) -> Json:
        """The page's settings of its issuer, with an id."""
        document = yaml.safe_load(self.block)
        [issuer] = document["issuers"]
        if not self.is_own:
            issuer["issuer"] = self.fixture["issuer"]
        kept = {key: value for key, value in self.placed(issuer).items() if key != self.without}
        return {**kept, "id": self.name}

    # --- tokens ------------------------------------------------------------------------------

    def access(self, **changes: Any) -> str:
        """An access token; changed claims replace, None removes one."""
        if not self.is_jwt:
            return f"opaque-{json.dumps(changes, sort_keys=True).encode().hex()}"
        return self._signed(self.fixture["access"], changes)

    def without_scope(self) -> str:
        """An access token that lacks the scope of the tool."""
        return self.access(**self.fixture["without_scope"])

    def id_token(self, **changes: Any) -> str:
        return self._signed(self.fixture["id"], changes)

    def jwt(self) -> str:
        """An access token in the form of a JWT, of a provider whose page wants opaque ones."""
        return self._signed(self.fixture["jwt"], {})

    def refresh(self) -> str:
        kept = self.fixture["refresh"]
        return str(kept["opaque"]) if "opaque" in kept else self._signed(kept, {})

    def _signed(self, kind: Json, changes: Json) -> str:
        header = {"kid": self.signer.kid, **kind["header"]}
        return self.signer.sign(header, self.claims(kind["claims"], changes))

    def claims(self, claims: Json, changes: Json) -> Json:
        """Claims with the times and the issuer of now."""
        now = int(time.time())
        made = {"iss": self.issuer, **self.placed(claims), "iat": now, "exp": now + LIFETIME, **self.placed(changes)}
        return {name: now if value == "iat" else value for name, value in made.items() if value is not None}

    def introspected(self, token: str) -> Json:
        """The provider's answer about an opaque token."""
        if not token.startswith("opaque-"):
            return {"active": False}
        return self.claims(self.fixture["access"]["claims"], json.loads(bytes.fromhex(token.removeprefix("opaque-"))))


def shapes() -> Iterator[Shape]:
    """All providers, by name."""
    for path in sorted(SHAPES.glob("*.yaml")):
        yield Shape(path.stem, yaml.safe_load(path.read_text("utf-8")))


class Providers:
    """One server that publishes the metadata and keys of all providers, each below its name.

    Args:
        reduced: names of providers and of a setting of their page: they are there once more, without it.
    """

    def __init__(self, reduced: Iterable[tuple[str, str]] = ()) -> None:
        self._reduced = tuple(reduced)
        self.shapes: dict[str, Shape] = {}
        self._server: TestServer | None = None

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._server = TestServer(app)
        await self._server.start_server(access_log=None, shutdown_timeout=0.1)
        fixtures = {shape.name: shape.fixture for shape in shapes()}
        for name, without in [*((name, "") for name in fixtures), *self._reduced]:
            fixture, own = fixtures[name], f"{name}-without-{without}" if without else name
            if without:
                fixture = {"page": name, **fixture}
            self.shapes[own] = Shape(own, fixture, str(self._server.make_url(f"/{own}")), without)
        self._documents = dict(self._published())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        await self._server.close()

    def _published(self) -> Iterator[tuple[str, Json]]:
        for name, shape in self.shapes.items():
            path = urlsplit(shape.issuer).path.rstrip("/")
            places = {
                "oauth": f"/.well-known/oauth-authorization-server{path}",
                "openid": f"/.well-known/openid-configuration{path}",
                "appended": f"{path}/.well-known/openid-configuration",
            }
            metadata = {"issuer": shape.issuer, "jwks_uri": f"{shape.base}/keys", "response_types_supported": ["code"]}
            for place in shape.fixture["locations"]:
                yield places[place], metadata
            yield f"/{name}/keys", {"keys": [copy.deepcopy(shape.signer.jwk)]}

    async def _answer(self, request: web.Request) -> web.Response:
        if request.method == "POST":
            shape = self.shapes[request.path.split("/")[1]]
            return web.json_response(shape.introspected(str((await request.post())["token"])))
        known = self._documents.get(request.path)
        return web.Response(status=404) if known is None else web.json_response(known)
