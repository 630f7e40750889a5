"""The snippets for nginx and HAProxy, run in front of a sidecar: the doctor finds no fault, and events are not kept."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from bench.machine import PROXY_CORE, started
from bench.peers import haproxy as haproxy_peer
from bench.peers import nginx as nginx_peer
from bench.programs import MissingError, Program, of_debian
from sidecar.trial.issuer import TrialIssuer
from sidecar.trial.issuer_server import serving
from tests.proxy.support import POLICY
from tests.support.backend import Backend, Turn
from tests.support.certificates import Authority, Pair
from tests.support.rig import LEGACY, Rig, rig
from tests.support.store import StoreServer, free_port

pytestmark = pytest.mark.process

FRONT = Path(__file__).parents[2] / "deploy" / "front"
NGINX = ("nginx", nginx_peer.PACKAGES, "usr/sbin/nginx")
HAPROXY = ("haproxy", haproxy_peer.PACKAGES, "usr/sbin/haproxy")
FOREIGN = {
    "Forwarded": "for=203.0.113.7;host=evil.example;proto=http",
    "X-Forwarded-For": "203.0.113.7",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Proto": "http",
}


def installed(name: str, packages: tuple[str, ...], path: str) -> Program:
    try:
        return of_debian(name, packages, path)
    except MissingError as missing:
        pytest.skip(str(missing))


def replaced(text: str, **values: str) -> str:
    """The snippet with addresses and files of this test: each must be in it."""
    for old, new in values.items():
        pattern = {"listen": "443", "sidecar": "127.0.0.1:8080", "admin": "port 9090"}.get(old, re.escape(old))
        text, count = re.subn(rf"(?<![\w.]){pattern}(?!\w)", new, text)
        assert count, old
    return text


@contextmanager
def nginx(folder: Path, port: int, sidecar: str, admin: str, pair: Pair) -> Iterator[None]:
    program = installed(*NGINX)
    text = replaced((FRONT / "nginx.conf").read_text(), listen=f"127.0.0.1:{port}", sidecar=sidecar)
    text = text.replace("/etc/nginx/tls/fullchain.pem", str(pair.cert))
    text = text.replace("/etc/nginx/tls/privkey.pem", str(pair.key)).replace("mcp.example.com", "localhost")
    temporary = "\n".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = folder / "nginx.conf"
    config.write_text(
        f"daemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log {folder}/log;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{temporary}\n{text}\n}}\n"
    )
    command: list[str | Path] = [program.path, "-c", config, "-p", folder, "-e", folder / "log"]
    with started(command, port, core=PROXY_CORE, env=program.env):
        yield


@contextmanager
def haproxy(folder: Path, port: int, sidecar: str, admin: str, pair: Pair) -> Iterator[None]:
    program = installed(*HAPROXY)
    both = folder / "both.pem"
    both.write_bytes(pair.cert.read_bytes() + pair.key.read_bytes())
    text = (FRONT / "haproxy.cfg").read_text().replace("/etc/haproxy/tls/mcp.example.com.pem", str(both))
    text = text.replace("bind :443", f"bind 127.0.0.1:{port}")
    text = text.replace("global\n", f"global\n    stats socket {folder}/haproxy.sock\n")
    text = replaced(text, sidecar=sidecar, admin=f"port {admin.rpartition(':')[2]}")
    config = folder / "haproxy.cfg"
    config.write_text(text)
    with started([program.path, "-db", "-f", config], port, core=PROXY_CORE, env=program.env):
        yield


FRONTS: dict[str, Callable[..., AbstractContextManager[None]]] = {"nginx": nginx, "haproxy": haproxy}


@dataclass(slots=True)
class Fronted:
    """A sidecar whose resource is the https URL of a proxy in front of it."""

    url: str
    issuer: TrialIssuer
    rig: Rig
    http: aiohttp.ClientSession


@asynccontextmanager
async def fronted(name: str, folder: Path, server: StoreServer, authority: Authority) -> AsyncIterator[Fronted]:
    port = free_port()
    url = f"https://localhost:{port}/mcp"
    issuer = TrialIssuer(resources=(url,), scopes=tuple(POLICY["scopes"]))
    connector = aiohttp.TCPConnector(ssl=authority.client())
    async with (
        serving(issuer) as identifier,
        rig(
            *(folder, server),
            policy=POLICY,
            scripted=Backend(sessions=True),
            resource=url,
            issuer={"issuer": identifier},
        ) as running,
        aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as http,
    ):
        await running.account()
        await running.grant()
        sidecar, admin = (str(running.sidecar.addresses[each]) for each in ("listen", "admin"))
        with FRONTS[name](folder, port, sidecar, admin, authority.issue("server")):
            yield Fronted(url, issuer, running, http)


@pytest.fixture(params=FRONTS)
async def front(
    request: pytest.FixtureRequest, tmp_path: Path, store_server: StoreServer, authority: Authority
) -> AsyncIterator[Fronted]:
    async with fronted(request.param, tmp_path, store_server, authority) as made:
        yield made


async def called(front: Fronted, tool: str, token: str | None, **headers: str) -> aiohttp.ClientResponse:
    """Call a tool through the proxy; the answer's body is not read yet."""
    message = front.rig.message("tools/call", {"name": tool, "arguments": {}}, revision=LEGACY)
    return await front.http.post(
        front.url, json=message, headers={**front.rig.request_headers(message, LEGACY, token), **headers}
    )


async def test_the_doctor_finds_no_fault(front: Fronted, authority: Authority, tmp_path: Path):
    token = tmp_path / "token"
    token.write_text(front.issuer.mint(client_id="cli-1"))
    origin = front.url.removesuffix("/mcp")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sidecar", "doctor", front.url, "--token-file", str(token), "--origin", origin),
        *("--format", "json"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "SSL_CERT_FILE": str(authority.cert)},
    )
    said, errors = await process.communicate()
    assert not errors, errors
    findings = json.loads(said)["findings"]
    assert {"challenge", "routing", "metadata", "token", "stream", "cors"} <= {each["check"] for each in findings}
    assert [each for each in findings if each["severity"] in ("warn", "fail")] == []


async def test_headers_of_a_client_change_no_url_and_reach_no_server(front: Fronted):
    async with await called(front, "list_taxonomy", None, **FOREIGN) as refused:
        assert refused.status == 401
        [metadata] = re.findall(r'resource_metadata="([^"]+)"', refused.headers["WWW-Authenticate"])
    assert metadata.startswith(front.url.removesuffix("/mcp"))
    async with front.http.get(metadata, headers=FOREIGN) as document:
        assert (await document.json())["resource"] == front.url
    async with await called(front, "list_taxonomy", front.issuer.mint(client_id="cli-1"), **FOREIGN) as answer:
        assert answer.status == 200
    [received] = [each for each in front.rig.backend.received if each.message.get("method") == "tools/call"]
    assert {name for name, _ in received.headers}.isdisjoint(name.lower() for name in FOREIGN)
    assert not any("evil.example" in value for _, value in received.headers)


async def test_an_event_arrives_before_the_stream_ends(front: Fronted):
    seen = asyncio.Event()

    async def two_events(turn: Turn) -> None:
        await turn.open_stream()
        await turn.event({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": 1}})
        async with asyncio.timeout(30):
            await seen.wait()  # a proxy that keeps the first event until the end never gets here
        await turn.event(turn.response({"result": {"content": []}}))
        await turn.end_stream()

    front.rig.backend.on("list_taxonomy", two_events)
    async with await called(front, "list_taxonomy", front.issuer.mint(client_id="cli-1")) as answer:
        assert answer.content_type == "text/event-stream"
        text = b""
        async with asyncio.timeout(30):
            while b"notifications/message" not in text:
                text += await answer.content.readany()
            seen.set()
            text += await answer.read()
    assert b'"result"' in text


async def test_a_body_that_is_too_large_is_refused_in_the_words_of_the_protocol(front: Fronted):
    large = "x" * (1024 * 1024 + 1)
    message = front.rig.message("tools/call", {"name": "list_taxonomy", "arguments": {"q": large}}, revision=LEGACY)
    headers = front.rig.request_headers(message, LEGACY, front.issuer.mint(client_id="cli-1"))
    async with front.http.post(front.url, json=message, headers=headers) as answer:
        assert answer.status == 413
        assert "code" in await answer.text()


async def test_haproxy_asks_the_sidecar_for_its_readiness(
    tmp_path: Path, store_server: StoreServer, authority: Authority
):
    async with fronted("haproxy", tmp_path, store_server, authority):
        async with asyncio.timeout(60):
            while (checked := await health(tmp_path / "haproxy.sock")) not in ("L7OK 200", "L7STS 403", "L7STS 404"):
                assert not checked.startswith("L4CON"), "`admin` is not reached"
    assert checked == "L7OK 200"


async def health(path: Path) -> str:
    """The last check of the one server, as HAProxy's own statistics name it."""
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b"show stat\n")
    rows = [row.split(",") for row in (await reader.read()).decode().lstrip("# ").splitlines() if row]
    writer.close()
    [server] = [dict(zip(rows[0], row, strict=False)) for row in rows[1:] if row[:2] == ["mcp_sidecar", "one"]]
    return f"{server['check_status'].lstrip('* ')} {server['check_code']}"
