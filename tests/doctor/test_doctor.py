"""The doctor in front of a real sidecar, backend and trial issuer: sound, and with one fault at a time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sidecar.cli import main
from sidecar.doctor.checkup import CheckupOptions, examine
from sidecar.doctor.rules.findings import Finding
from sidecar.trial.issuer import TrialIssuer
from sidecar.trial.issuer_server import serving
from tests.doctor.faults import CASES, LIES, document
from tests.doctor.front import SOUND, Front
from tests.proxy.support import POLICY
from tests.support import backend as scripted
from tests.support.backend import Backend, Turn
from tests.support.rig import Rig, rig
from tests.support.store import StoreServer, free_port


@dataclass(slots=True)
class LyingIssuer(TrialIssuer):
    """A trial issuer whose metadata a test changes; None removes a member."""

    lies: dict[str, Any] = field(default_factory=dict)

    def metadata(self) -> dict[str, Any]:
        made = {**TrialIssuer.metadata(self), **self.lies}
        return {name: value for name, value in made.items() if value is not None}


@dataclass(slots=True)
class Deployment:
    """A sidecar behind a proxy at a public URL."""

    url: str
    front: Front
    issuer: LyingIssuer
    rig: Rig

    async def findings(self, **options: Any) -> tuple[Finding, ...]:
        made = {"token": self.issuer.mint(client_id="cli-1"), "origin": self.url.removesuffix("/mcp"), "wait": 30.0}
        return await examine(self.url, CheckupOptions(**{**made, **options}))

    def serve_streams(self, *, serve: bool) -> None:
        """Let the backend open GET streams, whose first comment takes a while, or refuse them."""
        self.rig.backend.on("GET", scripted.default() if serve else scripted.http(405))


async def _only_with_session(turn: Turn) -> None:
    await turn.reply(202 if turn.request.header("mcp-session-id") else 400)


@asynccontextmanager
async def _deployed(folder: Path, server: StoreServer) -> AsyncIterator[Deployment]:
    port = free_port()
    url = f"http://127.0.0.1:{port}/mcp"
    front, issuer, backend = (
        Front(),
        LyingIssuer(resources=(url,), scopes=tuple(POLICY["scopes"])),
        Backend(sessions=True),
    )
    backend.on("notifications/initialized", _only_with_session)
    keepalive = {"keepalive": "100ms"}
    async with (
        serving(issuer) as identifier,
        front.serving(port),
        rig(
            *(folder, server),
            policy=POLICY,
            scripted=backend,
            resource=url,
            issuer={"issuer": identifier},
            backend=keepalive,
        ) as running,
    ):
        await running.account()
        await running.grant()
        front.upstream = running.url.removesuffix("/mcp")
        yield Deployment(url, front, issuer, running)


@pytest.fixture
async def deployed(tmp_path: Path, store_server: StoreServer) -> AsyncIterator[Deployment]:
    async with _deployed(tmp_path, store_server) as made:
        yield made


def marks(findings: tuple[Finding, ...]) -> set[str]:
    return {f"{each.severity} {each.check}" for each in findings if each.severity in ("warn", "fail")}


def has(findings: tuple[Finding, ...], says: str, fix: str) -> bool:
    return any(says in each.says and fix in each.fix for each in findings)


async def test_a_sound_deployment_has_no_problem(deployed: Deployment):
    findings = await deployed.findings(register=True)
    assert marks(findings) == set()
    unchecked = [each for each in findings if each.severity == "unchecked"]
    assert [(each.check, each.says.rpartition(" ")[0].rpartition(" ")[2]) for each in unchecked] == [
        ("registration", "stays")
    ]
    assert {each.check for each in findings} == {
        *("address", "challenge", "routing", "metadata", "issuer", "pkce", "registration", "resource"),
        *("clock", "cors", "token", "stream"),
    }


@pytest.mark.timeout(600)  # dozens of examinations
async def test_each_fault_of_a_proxy_is_found_with_its_fix(deployed: Deployment):
    wrong = {}
    for name, case in CASES.items():
        deployed.front.planted = case.planted
        deployed.serve_streams(serve=case.streams)
        findings = await deployed.findings(wait=1.0 if case.planted.buffers else 30.0)
        if marks(findings) != case.found or not has(findings, case.says, case.fix):
            wrong[name] = [each for each in findings if each.severity in ("warn", "fail")]
    assert wrong == {}, "\n".join(f"{a}: {b}" for a, b in wrong.items())
    deployed.front.planted = SOUND
    assert marks(await deployed.findings()) == set()


@pytest.mark.timeout(600)
async def test_each_lie_of_an_issuer_is_found_with_its_fix(deployed: Deployment):
    wrong = {}
    deployed.serve_streams(serve=False)
    for name, (lies, expected, says, fix) in LIES.items():
        deployed.issuer.lies = lies
        findings = await deployed.findings()
        if marks(findings) != expected or not has(findings, says, fix):
            wrong[name] = [each for each in findings if each.severity in ("warn", "fail")]
    assert wrong == {}, "\n".join(f"{a}: {b}" for a, b in wrong.items())


@pytest.mark.parametrize(
    ("claims", "says", "fix"),
    [
        ({"audience": "https://other.example.com/mcp"}, "aud is https://other.example.com/mcp, not", "resource="),
        ({"lifetime": -5}, "it has expired", "log in again"),
    ],
)
async def test_a_token_that_is_refused_is_a_failure(deployed: Deployment, claims, says, fix):
    findings = await deployed.findings(token=deployed.issuer.mint(client_id="cli-1", **claims))
    assert marks(findings) == {"fail token"}
    assert has(findings, says, fix)
    assert has(findings, "the server refuses it: ", "mcp-sidecar explain --token-file")


async def test_an_issuer_that_does_not_know_the_resource_is_found(deployed: Deployment):
    deployed.issuer.resources = ("https://other.example.com/mcp",)
    findings = await deployed.findings(token=None, register=True)
    assert marks(findings) == {"fail resource"}
    assert has(findings, "is refused with invalid_target", "register the URL as a resource")


async def test_nothing_is_registered_unasked(deployed: Deployment):
    await deployed.findings()
    assert deployed.issuer._clients == {}


async def test_a_login_that_is_refused_for_another_reason_is_a_warning(deployed: Deployment):
    deployed.issuer.approves = frozenset()
    findings = await deployed.findings(token=None, register=True)
    assert marks(findings) == {"warn resource"}
    assert has(findings, "refused with access_denied", "the log of the authorization server")


async def test_the_token_is_sent_to_the_url_only(deployed: Deployment):
    other = deployed.rig.issuer
    deployed.front.planted = document(lambda content: content.update(authorization_servers=[other.url]))
    findings = await deployed.findings()
    assert has(findings, f"iss is {deployed.issuer.url}", "log in at the announced issuer")
    asked = [each for each in other.request_headers if "doctor" in each["user-agent"]]
    assert asked
    assert not [each for each in asked if "authorization" in each]


async def test_the_command_prints_fixes_and_no_token(deployed: Deployment, tmp_path: Path, capsys):
    token = deployed.issuer.mint(client_id="cli-1")
    (tmp_path / "token").write_text(token)
    words = ["doctor", deployed.url, "--token-file", str(tmp_path / "token")]
    assert await asyncio.to_thread(main, words) == 0
    sound = capsys.readouterr().out
    deployed.front.planted = CASES["the challenge is stripped"].planted
    assert await asyncio.to_thread(main, words) == 1
    broken = capsys.readouterr().out
    assert await asyncio.to_thread(main, [*words, "--format", "json"]) == 1
    document = capsys.readouterr().out
    assert "FAIL  challenge     401 without WWW-Authenticate" in broken
    assert "fix: let the proxy pass WWW-Authenticate" in broken
    assert sound.splitlines()[-1].endswith("0 warn, 0 fail, 1 unchecked")
    assert json.loads(document)["ok"] is False
    assert token not in sound + broken + document


async def test_an_unreachable_url_is_a_failure(capsys):
    url = f"http://127.0.0.1:{free_port()}/mcp"
    assert await asyncio.to_thread(main, ["doctor", url]) == 1
    assert "FAIL  reach" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ["ftp://mcp.example.com"],
        ["https://ada:secret@mcp.example.com/mcp"],
        ["https://mcp.example.com/ mcp"],
        ["https://mcp.example.com/mcp", "--wait", "0"],
        ["https://mcp.example.com/mcp", "--origin", "https://app.example.com/"],
    ],
)
def test_a_wrong_command_line_is_2(words: list[str], capsys):
    assert main(["doctor", *words]) == 2
    assert "secret" not in capsys.readouterr().err
