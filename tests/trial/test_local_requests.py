"""The trial issuer serves programs of this machine: pages of other sites are refused, whatever they try."""

from __future__ import annotations

from urllib.parse import urlsplit

import httpx2
import jwt
import pytest

from sidecar.trial.issuer import MAX_ENTRIES, TrialIssuer
from sidecar.trial.issuer_server import PATH, serving
from sidecar.trial.local_requests import NOTICE
from sidecar.trial.oauth import Signer

RESOURCE = "http://127.0.0.1:8080/mcp"
REDIRECT = "http://127.0.0.1:7777/callback"


@pytest.fixture
def lines():
    return []


@pytest.fixture
def issuer():
    return TrialIssuer(resources=(RESOURCE,), keys=[Signer("ES256")], scopes=("read",), any_scope=True)


@pytest.fixture
async def http(issuer, lines):
    async with serving(issuer, log=lines.append) as url, httpx2.AsyncClient(base_url=url.removesuffix(PATH)) as client:
        yield client


def claims(token):
    return jwt.decode(token.strip(), options={"verify_signature": False})


FOREIGN = {
    "rebound DNS name": {"Host": "attacker.example:{port}"},
    "name that ends in localhost": {"Host": "localhost.attacker.example:{port}"},
    "other port": {"Host": "127.0.0.1:1"},
    "no port": {"Host": "127.0.0.1"},
    "foreign page": {"Origin": "https://attacker.example"},
    "page with a name like loopback": {"Origin": "http://127.0.0.1.attacker.example"},
    "sandboxed page": {"Origin": "null"},
    "malformed origin": {"Origin": "http://[::1"},
    "cross-site": {"Sec-Fetch-Site": "cross-site"},
    "cross-site of a local page": {"Origin": "http://localhost:3000", "Sec-Fetch-Site": "cross-site"},
}
ENDPOINTS = [
    ("POST", "/token?client=curl"),
    ("POST", f"{PATH}/oauth2/register"),
    ("GET", f"{PATH}/oauth2/authorize?client_id=x"),
    ("POST", f"{PATH}/oauth2/token"),
    ("GET", f"{PATH}/jwks"),
]


@pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN.keys())
async def test_a_foreign_request_is_refused_at_every_endpoint(http, issuer, lines, headers):
    port = urlsplit(issuer.url).port
    sent = {name: value.format(port=port) for name, value in headers.items()}
    for method, path in ENDPOINTS:
        answer = await http.request(method, path, headers=sent)
        assert (answer.status_code, answer.json()["error"]) == (403, "access_denied"), path
        assert "Access-Control-Allow-Origin" not in answer.headers
    assert issuer.key_fetches == 0
    assert all(line.endswith(")") and " 403 (" in line for line in lines)


async def test_a_form_of_another_site_gets_no_token(http):
    page = {"Origin": "https://attacker.example", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    answer = await http.post("/token", data={"account": "victim"}, headers=page)
    assert (answer.status_code, answer.text.count("eyJ")) == (403, 0)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "OPTIONS"])
async def test_a_token_is_given_by_post_only(http, method):
    answer = await http.request(method, "/token?client=curl")
    assert (answer.status_code, answer.headers["Allow"], "eyJ" in answer.text) == (405, "POST", False)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Host": "LOCALHOST:{port}"},
        {"Origin": "http://localhost:3000", "Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
    ],
)
async def test_programs_and_pages_of_this_machine_get_tokens(http, issuer, headers):
    port = urlsplit(issuer.url).port
    sent = {name: value.format(port=port) for name, value in headers.items()}
    assert claims((await http.post("/token", headers=sent)).text)["sub"] == "ada"


async def test_a_token_has_the_scope_account_and_client_of_the_url(http, issuer):
    made = claims((await http.post("/token?scope=a:b+c&account=bob&client=https://c.example/app")).text)
    named = (made["scope"], made["sub"], made["client_id"], made["aud"])
    assert named == ("a:b c", "bob", "https://c.example/app", RESOURCE)
    assert made["iss"] == issuer.url
    assert claims((await http.post("/token")).text)["scope"] == "read"
    assert claims((await http.post("/token?scope=")).text)["scope"] == ""


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("subject=x", "invalid_request"),
        ("account=", "invalid_request"),
        ("account=a%00b", "invalid_request"),
        ("account=a&account=b", "invalid_request"),
        (f"client={'x' * 3000}", "invalid_request"),
        ("scope=a%22b", "invalid_scope"),
        ("scope=%C3%A9", "invalid_scope"),
    ],
)
async def test_a_wrong_url_gets_no_token(http, query, error):
    answer = await http.post(f"/token?{query}")
    assert (answer.status_code, answer.json()["error"]) == (400, error)


async def test_both_documents_are_marked(http):
    for path in (f"/.well-known/oauth-authorization-server{PATH}", f"{PATH}/jwks"):
        assert (await http.get(path)).json()["mcp_sidecar_trial"] is True


async def test_every_line_of_the_log_says_that_it_is_a_trial_and_nothing_of_the_request(http, lines):
    token = (await http.post("/token?account=mallory")).text.strip()
    await http.get("/secret-path?x=hunter2", headers={"Authorization": f"Bearer {token}"})
    await http.get(f"{PATH}/jwks", headers={"Origin": "https://attacker.example"})
    assert len(lines) == 3
    assert all(line.startswith(NOTICE) for line in lines)
    assert not any(word in " ".join(lines) for word in ("mallory", "secret-path", "hunter2", "eyJ", "attacker"))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])
async def test_an_address_outside_of_loopback_is_never_bound(issuer, host):
    with pytest.raises(ValueError, match="loopback only"):
        async with serving(issuer, host):
            raise AssertionError


async def test_many_registrations_do_not_fill_the_memory(issuer):
    first = issuer.register({"redirect_uris": [REDIRECT]})["client_id"]
    for _ in range(MAX_ENTRIES):
        last = issuer.register({"redirect_uris": [REDIRECT]})["client_id"]
    assert (first in issuer._clients, last in issuer._clients, len(issuer._clients)) == (False, True, MAX_ENTRIES)


async def test_a_login_grants_any_requested_scope(issuer):
    issuer.url = "http://127.0.0.1:1/api/auth"
    client = issuer.register({"redirect_uris": [REDIRECT]})["client_id"]
    asked = {"client_id": client, "redirect_uri": REDIRECT, "response_type": "code", "scope": "x:y z"}
    back = await issuer.authorize({**asked, "code_challenge": "c" * 43, "code_challenge_method": "S256"})
    assert "code=" in back
    [code] = issuer._codes.values()
    assert code.grant.scopes == ("x:y", "z")
