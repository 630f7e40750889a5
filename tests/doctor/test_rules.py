"""Rules of the doctor without a server: spellings, challenges, issuers, clocks, tokens and streams."""

from __future__ import annotations

import json
from email.utils import formatdate
from typing import Any

import httpx2
import pytest
from mcp.client.auth.utils import extract_field_from_www_auth

from sidecar.doctor.rules.address import is_fetchable, judge_address, origin_of
from sidecar.doctor.rules.challenge_header import READ, ChallengeSyntaxError, as_clients_read, parse_first
from sidecar.doctor.rules.clock_skew import judge_clocks
from sidecar.doctor.rules.findings import Finding
from sidecar.doctor.rules.first_contact import judge_challenge
from sidecar.doctor.rules.issuer_documents import judge_discovery, judge_registration
from sidecar.doctor.rules.login_trial import removal
from sidecar.doctor.rules.probe_answer import ProbeAnswer
from sidecar.doctor.rules.stream_timing import StreamTrial, judge_stream
from sidecar.doctor.rules.token_binding import judge_token
from sidecar.errors import ErrorCode
from sidecar.proxy.listener.documents import challenge
from tests.support.issuer import Issuer

URL = "https://mcp.example.com/mcp"
NOW = 1_800_000_000.0
JSON = ("content-type", "application/json")


def answer(status: int = 200, document: Any = None, *headers: tuple[str, str], url: str = URL) -> ProbeAnswer:
    body = b"" if document is None else json.dumps(document).encode()
    return ProbeAnswer(url, status, (JSON, *headers), body, at=NOW)


def outcome(finding: Finding) -> tuple[str, str]:
    return str(finding.severity), finding.says


# --- address -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "severity", "says"),
    [
        (URL, "ok", URL),
        ("https://mcp.example.com", "ok", "https://mcp.example.com"),
        ("https://[2001:db8::1]/mcp", "ok", "https://[2001:db8::1]/mcp"),
        ("http://127.0.0.1:8080/mcp", "ok", "http://127.0.0.1:8080/mcp"),
        ("http://mcp.example.com/mcp", "fail", "http:// shows every token to the network"),
        (f"{URL}#x", "fail", "a fragment is no part of a resource (RFC 8707 section 2)"),
        ("https://MCP.example.com/mcp", "fail", "clients write scheme and host in lower case"),
        ("HTTPS://mcp.example.com/mcp", "fail", "clients write scheme and host in lower case"),
        ("https://mcp.example.com:443/mcp", "warn", "clients leave out the default port"),
        (f"{URL}?a=b", "warn", "a query is discouraged (RFC 9728 section 1.2)"),
        ("https://mcp.example.com/a/../mcp", "fail", "clients and proxies rewrite this path"),
        (f"{URL}/", "warn", "a slash at the end: some clients drop it when they look for the metadata"),
    ],
)
def test_spellings_of_the_url(url: str, severity: str, says: str):
    assert [outcome(each) for each in judge_address(url)] == [(severity, says)]


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        (URL, "https://mcp.example.com"),
        ("https://mcp.example.com:8443/mcp", "https://mcp.example.com:8443"),
        ("http://[::1]:80/mcp", "http://[::1]"),
    ],
)
def test_origins_are_those_of_browsers(url: str, origin: str):
    assert origin_of(url) == origin


@pytest.mark.parametrize(
    ("url", "public", "fetchable"),
    [
        ("https://login.example.com", URL, True),
        ("http://login.example.com", URL, False),
        ("http://127.0.0.1:1/", URL, False),  # a public server must not make us ask this machine
        ("http://127.0.0.1:1/", "http://localhost:2/mcp", True),
        ("https://ada:secret@login.example.com", URL, False),
        ("file:///etc/passwd", URL, False),
        ("https://[", URL, False),
    ],
)
def test_urls_that_a_server_names_are_asked_with_care(url: str, public: str, fetchable: bool):
    assert is_fetchable(url, public) is fetchable


# --- challenge ---------------------------------------------------------------------------------

HEADERS = [
    challenge(ErrorCode.TOKEN_MISSING, URL, ["a", "b"], ""),
    challenge(ErrorCode.TOKEN_INVALID, URL, ["a"], 'scope=x, and "quoted"'),
    'Bearer scope=a, resource_metadata="https://x/y"',
    'Bearer error_description="no scope=x", scope="a b"',
    'Bearer scope="", error=',
    'Basic realm="a", Bearer scope="b"',
    'Bearer a="\\"scope=x"',
]


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("name", READ)
def test_parameters_are_read_as_the_official_client_reads_them(header: str, name: str):
    response = httpx2.Response(401, headers={"WWW-Authenticate": header})
    assert as_clients_read(header, name) == extract_field_from_www_auth(response, name)


@pytest.mark.parametrize(
    ("header", "parameters"),
    [
        ("Bearer", {}),
        ('Bearer a="b c", d=e', {"a": "b c", "d": "e"}),
        ('Bearer a="say \\"b\\"" , , D = e', {"a": 'say "b"', "d": "e"}),
        ('Bearer a=b, Basic realm="c"', {"a": "b"}),
    ],
)
def test_challenges_are_parsed(header: str, parameters: dict[str, str]):
    assert parse_first(header) == parameters


@pytest.mark.parametrize("header", ["", 'Bearer a="b', "Bearer a=b c=d e", "Bearer a=b, a=c", 'Bearer "a"', "Bearer a"])
def test_malformed_challenges_are_refused(header: str):
    with pytest.raises(ChallengeSyntaxError):
        parse_first(header)


def test_a_huge_challenge_is_not_parsed():
    header = "Bearer " + ",".join(f"a{number}=1" for number in range(100_000))
    (finding,) = judge_challenge(answer(401, None, ("www-authenticate", header)), URL)
    assert outcome(finding) == ("fail", f"WWW-Authenticate has {len(header)} characters")


@pytest.mark.parametrize("header", HEADERS[:2])
def test_own_challenges_mean_the_same_to_every_reader(header: str):
    assert {name: parse_first(header).get(name) for name in READ} == {
        name: as_clients_read(header, name) for name in READ
    }


# --- issuers -----------------------------------------------------------------------------------

ISSUER = "https://login.example.com/t"
METADATA = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/authorize",
    "token_endpoint": f"{ISSUER}/token",
    "response_types_supported": ["code"],
}
OAUTH = "https://login.example.com/.well-known/oauth-authorization-server/t"
OPENID = f"{ISSUER}/.well-known/openid-configuration"


@pytest.mark.parametrize(
    ("answers", "severity", "says"),
    [
        ([answer(200, METADATA, url=OAUTH)], "ok", "metadata at /.well-known/oauth-authorization-server/t"),
        ([answer(404, url=OAUTH), answer(404, url=OPENID)], "fail", "has no metadata"),
        ([answer(302, None, ("location", "/x"), url=OAUTH)], "fail", "has no metadata"),
        ([answer(500, url=OAUTH)], "fail", "official clients ask no further location"),
        ([answer(200, url=OAUTH)], "fail", "is no JSON object, and clients ask no further location"),
        ([answer(404, url=OAUTH), answer(200, METADATA, url=OPENID)], "fail", "OpenID metadata without jwks_uri"),
        ([answer(200, {**METADATA, "issuer": f"{ISSUER}/"}, url=OAUTH)], "fail", "its metadata says issuer"),
        ([answer(200, {**METADATA, "mcp_sidecar_trial": True}, url=OAUTH)], "fail", "it is for trials"),
        (
            [answer(200, {**METADATA, "grant_types_supported": ["password"]}, url=OAUTH)],
            "fail",
            "no authorization_code",
        ),
        ([ProbeAnswer(OAUTH, problem="no answer in 10 s")], "fail", "no answer in 10 s"),
        ([], "fail", "has no metadata"),
    ],
)
def test_metadata_is_looked_for_as_clients_do(answers: list[ProbeAnswer], severity: str, says: str):
    (finding,), _ = judge_discovery(ISSUER, answers, URL)
    assert finding.severity == severity
    assert says in finding.says


def test_client_id_metadata_documents_are_a_way_to_register():
    found = list(judge_registration({"client_id_metadata_document_supported": True}, URL, tried=False))
    assert [outcome(each) for each in found] == [("ok", "announced: client id metadata documents")]


@pytest.mark.parametrize(
    ("url", "token", "usable"),
    [
        (f"{ISSUER}/register/1", "t", True),
        ("https://elsewhere.example.com/1", "t", False),
        (f"{ISSUER}/register/1", "t\r\nX: y", False),
        (None, "t", False),
    ],
)
def test_a_client_is_removed_at_its_own_server_only(url: str | None, token: str, usable: bool):
    document = {"registration_client_uri": url, "registration_access_token": token}
    assert (removal(answer(201, document, url=f"{ISSUER}/register")) is not None) is usable


# --- clocks ------------------------------------------------------------------------------------


def dated(ahead: float, *headers: tuple[str, str]) -> ProbeAnswer:
    return answer(401, None, ("date", formatdate(NOW + ahead, usegmt=True)), *headers)


@pytest.mark.parametrize(
    ("server", "issuer", "severity", "says"),
    [
        (dated(0), dated(0), "ok", "within 5 s: the server, the issuer I"),
        (dated(8), dated(0), "warn", "the clock of the server is 8 s ahead"),
        (dated(-60), dated(0), "fail", "the clock of the server is 60 s behind, more than `leeway` allows"),
        (dated(0), dated(60), "fail", "the clock of the issuer I is 60 s ahead, more than `leeway` allows"),
        (dated(90), dated(91), "warn", "server and issuers agree, and this machine's clock is 90 s off"),
        (dated(0), dated(-300, ("age", "300")), "ok", "within 5 s: the server, the issuer I"),
        (answer(401), dated(0), "unchecked", "the server's answer has no usable Date"),
        (answer(401, None, ("date", "now")), dated(0), "unchecked", "the server's answer has no usable Date"),
    ],
)
def test_clocks(server: ProbeAnswer, issuer: ProbeAnswer, severity: str, says: str):
    assert [outcome(each) for each in judge_clocks(server, [("I", issuer)])] == [(severity, says)]


# --- token -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claims", "accepted", "found"),
    [
        ({}, True, [("ok", "aud names the URL")]),
        ({"aud": [URL, "other"]}, True, [("ok", "aud names the URL")]),
        ({"aud": f"{URL}/"}, False, [("fail", f"aud is {URL}/, not {URL}: a slash at the end is another audience")]),
        ({"aud": None}, True, [("warn", f"aud is absent, not {URL}; the server accepts it by its config")]),
        ({"iat": NOW + 60}, True, [("ok", ""), ("warn", "it is issued 60 s in the future by this machine's clock")]),
        ({"exp": NOW - 7}, False, [("ok", ""), ("fail", "it has expired 7 s ago by this machine's clock")]),
        (
            {"iss": "https://x"},
            True,
            [("ok", ""), ("warn", "iss is https://x, and https://issuer.example")],
        ),
    ],
)
def test_claims_are_compared_with_the_url(claims: dict[str, Any], accepted: bool, found: list[tuple[str, str]]):
    issuer = Issuer(resource=URL, clock=lambda: NOW)
    judged = list(judge_token(issuer.mint(**claims), URL, [issuer.url], NOW, accepted=accepted))
    assert [str(each.severity) for each in judged] == [severity for severity, _ in found]
    assert all(says in each.says for each, (_, says) in zip(judged, found, strict=True))


@pytest.mark.parametrize(("token", "severity"), [("0123456789", "unchecked"), ("a.b.c", "fail")])
def test_what_is_no_jwt_is_not_compared(token: str, severity: str):
    (finding,) = judge_token(token, URL, [], NOW, accepted=False)
    assert finding.severity == severity
    assert token not in finding.says


# --- streams -----------------------------------------------------------------------------------

STREAM = ProbeAnswer(URL, 200, (("content-type", "text/event-stream"),))


@pytest.mark.parametrize(
    ("trial", "severity", "says"),
    [
        (StreamTrial(STREAM, 0.2, 20.0), "ok", "first bytes after 0.2 s"),
        (StreamTrial(STREAM, None, 20.0), "fail", "nothing arrived in 20 s"),
        (StreamTrial(STREAM, None, 20.0, ended=True), "unchecked", "the stream ended"),
        (StreamTrial(answer(405)), "unchecked", "the server opens no stream here: answered 405"),
        (StreamTrial(ProbeAnswer(URL, problem="no answer in 30 s")), "fail", "no answer to a request for a stream"),
    ],
)
def test_streams(trial: StreamTrial, severity: str, says: str):
    finding = judge_stream(trial)
    assert finding.severity == severity
    assert says in finding.says
