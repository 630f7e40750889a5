"""Official clients sign in at real authorization servers, whose approvals the examples mirror to the sidecar."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest

from demo import backend
from tests.clients.driven import DRIVERS, Driven, driven
from tests.clients.driven_python import MODES, DrivenPython, driven_python
from tests.clients.person import Person, person
from tests.clients.servers.streamless import BackendWithoutStream
from tests.support import node
from tests.support.recorder import Recorder
from tests.support.rig import Json, Rig, rig
from tests.support.store import StoreServer, free_port

pytestmark = pytest.mark.node

EXAMPLES: Final = Path(__file__).parents[2] / "examples"
PROVIDERS: Final = ("oidc-provider", "better-auth")
BASE: Final = {"usage:read", "stores:read"}
PLUMBING: Final = {"openid", "offline_access"}
"""Scopes that clients add by themselves when the authorization server offers them."""
TOKEN: Final = "a-token-of-the-authorization-server"
REVEAL: Final = {"contact_ids": ["c1"], "confirm_spend_credits": True}
POLICY: Final[Json] = {
    "scopes": {"usage:read": "Usage.", "stores:read": "Stores.", "contacts:reveal": "Contacts."},
    "base_scopes": sorted(BASE),
    "consent": "required",
    "tools": {"list_taxonomy": {"scopes": ["stores:read"]}, "reveal_contacts": {"scopes": ["contacts:reveal"]}},
}


@dataclass(frozen=True, slots=True)
class Deployment:
    """A sidecar, the authorization server of an example, and a person who has an account there."""

    rig: Rig
    issuer: str
    person: Person
    arrived: Recorder

    @property
    def connections(self) -> str:
        """The provider's page of approvals."""
        return "{0.scheme}://{0.netloc}/connections".format(urlsplit(self.issuer))

    @asynccontextmanager
    async def client(self, kind: str) -> AsyncIterator[Driven | DrivenPython]:
        """A client that knows the sidecar's URL and nothing else."""
        if kind in MODES:
            async with driven_python(kind, self.rig.url, self.person.url) as python:
                yield python
        else:
            async with driven(kind, self.rig.url, browser=self.person.url) as client:
                yield client


def mirrored(listen: str) -> Json:
    """A config's `admin_api`, where the server of an example may mirror consents."""
    return {"listen": listen, "tokens": [{"name": "login", "token": TOKEN, "may": ["consents"]}]}


@asynccontextmanager
async def provider(name: str, folder: Path, *, resource: str, api: str) -> AsyncIterator[str]:
    """The server of an example, as it is printed; gives its issuer."""
    shutil.copytree(EXAMPLES / name, folder / name)
    (folder / name / "node_modules").symlink_to(node.MODULES)
    variables = {"RESOURCE": resource, "API": api, "TOKEN": TOKEN, "PASSWORD": "correct horse"}
    async with node.started(folder / name / "server.mjs", env=variables) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        issuer = (await process.stdout.readline()).decode().strip()
        assert issuer.startswith("http://"), (await process.stderr.read()).decode()
        yield issuer


@pytest.fixture(params=PROVIDERS)
async def deployment(
    request: pytest.FixtureRequest, tmp_path: Path, store_server: StoreServer
) -> AsyncIterator[Deployment]:
    listen, admin_api = (f"127.0.0.1:{free_port()}" for _ in range(2))
    resource = f"http://{listen}/mcp"
    async with (
        backend.serving(BackendWithoutStream()) as url,
        Recorder(url) as arrived,
        provider(request.param, tmp_path, resource=resource, api=f"http://{admin_api}") as issuer,
        rig(
            tmp_path,
            store_server,
            policy=POLICY,
            backend_url=arrived.url,
            issuer={"issuer": issuer},
            resource=resource,
            listen=listen,
            shutdown_grace="100ms",
            admin_api=mirrored(admin_api),
        ) as built,
        person(user="ada", email="ada@example.com", password="correct horse") as ada,
    ):
        built.url = resource
        yield Deployment(built, issuer, ada, arrived)
        assert b"eyJ" not in arrived.sent  # every JWT begins with it: no token was forwarded


@pytest.mark.parametrize("kind", [*DRIVERS, *MODES])
async def test_a_client_signs_in_steps_up_is_withdrawn_and_signs_in_again(deployment: Deployment, kind: str):
    async with deployment.client(kind) as client:
        await client.connect()
        assert not (await client.call("list_taxonomy")).get("isError")
        revealed = await client.call("reveal_contacts", REVEAL)
        assert [contact["id"] for contact in revealed["structuredContent"]["contacts"]] == ["c1"]
        assert [asked - PLUMBING for asked in await client.logins()] == [BASE, {*BASE, "contacts:reveal"}]

        [revealed_line] = await deployment.rig.lines_with(1, tool="reveal_contacts", code="ok")
        name = revealed_line["client_id"]
        await deployment.person.withdraw(deployment.connections, name)
        assert not (await client.call("list_taxonomy")).get("isError")  # the person approves it once more
        assert len(await client.logins()) == 3
    about = {"tool": "list_taxonomy", "client_id": name}
    await deployment.rig.lines_with(1, **about, code="consent_revoked", http_status=401)
    await deployment.rig.lines_with(2, **about, code="ok")  # before the consent was withdrawn, and after
    assert deployment.arrived.sent.count(b'"list_taxonomy"') == 2
    assert deployment.arrived.sent.count(b'"reveal_contacts"') == 1


@pytest.mark.parametrize("name", PROVIDERS)
def test_the_pinned_versions_are_those_that_are_tested(name: str):
    tested = json.loads(node.MANIFEST.read_text())["dependencies"]
    pinned = json.loads((EXAMPLES / name / "package.json").read_text())["dependencies"]
    assert pinned == {package: tested[package] for package in pinned}


@pytest.mark.parametrize("name", PROVIDERS)
def test_the_hook_is_short(name: str):
    lines = (EXAMPLES / name / "consents.mjs").read_text().splitlines()
    code = [line for line in lines if line.strip() and not line.lstrip().startswith(("//", "/**"))]
    assert len(code) <= 35
