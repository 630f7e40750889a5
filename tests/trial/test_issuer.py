"""The demo's authorization server: the flows clients use, and each way they are refused."""

import base64
import hashlib
from urllib.parse import parse_qs, urlsplit

import httpx2
import jwt
import pytest

from sidecar.trial.issuer import TrialIssuer
from sidecar.trial.issuer_server import serving
from sidecar.trial.oauth import Signer

SCOPES = ("usage:read", "stores:read", "contacts:search", "contacts:reveal")
RESOURCE = "http://127.0.0.1:8080/mcp"
REDIRECT = "http://127.0.0.1:7777/callback"
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()


@pytest.fixture
def issuer():
    return TrialIssuer(resources=(RESOURCE,), scopes=SCOPES, keys=[Signer("ES256")])


@pytest.fixture
async def http(issuer):
    async with serving(issuer) as url, httpx2.AsyncClient(base_url=url) as client:
        yield client


@pytest.fixture
async def client_id(http):
    answer = await http.post("/oauth2/register", json={"client_name": "Claude", "redirect_uris": [REDIRECT]})
    assert answer.status_code == 201
    assert answer.json()["token_endpoint_auth_method"] == "none"
    return answer.json()["client_id"]


async def authorize(http, client_id, **changes):
    """The parameters that the browser comes back with."""
    params = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": REDIRECT,
        "state": "s1",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        "resource": RESOURCE,
        "scope": "stores:read offline_access",
        **changes,
    }
    answer = await http.get("/oauth2/authorize", params={k: v for k, v in params.items() if v is not None})
    assert answer.status_code == 302, answer.text
    return {name: value for name, [value] in parse_qs(urlsplit(answer.headers["Location"]).query).items()}


def form(client_id, code, /, **changes):
    return {
        "grant_type": "authorization_code",
        "client_id": client_id,
        "code": code,
        "redirect_uri": REDIRECT,
        "code_verifier": VERIFIER,
        "resource": RESOURCE,
        **changes,
    }


async def redeem(http, client_id, /, **changes):
    code = (await authorize(http, client_id))["code"]
    return await http.post("/oauth2/token", data=form(client_id, code, **changes))


async def refresh(http, client_id, token, **changes):
    data = {"grant_type": "refresh_token", "client_id": client_id, "refresh_token": token, **changes}
    return await http.post("/oauth2/token", data=data)


def claims(issuer, token, audience=RESOURCE):
    header = jwt.get_unverified_header(token)
    [key] = [signer for signer in issuer.keys if signer.kid == header["kid"]]
    assert header["typ"] == "at+jwt"
    return jwt.decode(token, jwt.PyJWK(key.jwk), audience=audience, issuer=issuer.url)


async def test_metadata_is_at_every_place_clients_look(http, issuer):
    origin = issuer.url.removesuffix("/api/auth")
    places = [
        f"{origin}/.well-known/oauth-authorization-server/api/auth",
        f"{origin}/.well-known/openid-configuration/api/auth",
        f"{issuer.url}/.well-known/openid-configuration",
    ]
    documents = [(await http.get(place)).json() for place in places]
    assert documents == [issuer.metadata()] * 3
    assert documents[0]["issuer"] == issuer.url


async def test_a_code_becomes_a_token_for_the_resource(http, issuer, client_id):
    approvals = []

    async def remember(approval):
        approvals.append(approval)

    issuer.on_approval = remember
    back = await authorize(http, client_id)
    assert (back["state"], back["iss"]) == ("s1", issuer.url)
    answer = (await http.post("/oauth2/token", data=form(client_id, back["code"]))).json()
    token = claims(issuer, answer["access_token"])
    assert (token["sub"], token["client_id"], token["scope"]) == ("ada", client_id, "stores:read")
    assert token["aud"] == RESOURCE
    assert token["exp"] - token["iat"] == answer["expires_in"] == 900
    [approval] = approvals
    assert (approval.subject, approval.client_name, approval.scopes) == ("ada", "Claude", ("stores:read",))


async def test_openid_adds_an_audience(http, issuer, client_id):
    back = await authorize(http, client_id, scope="openid stores:read")
    answer = (await http.post("/oauth2/token", data=form(client_id, back["code"]))).json()
    assert claims(issuer, answer["access_token"])["aud"] == [RESOURCE, f"{issuer.url}/oauth2/userinfo"]
    assert "refresh_token" not in answer


async def test_a_person_may_approve_less_or_nothing(http, issuer, client_id):
    issuer.approves = frozenset({"stores:read"})
    back = await authorize(http, client_id, scope="stores:read contacts:reveal")
    answer = (await http.post("/oauth2/token", data=form(client_id, back["code"]))).json()
    assert answer["scope"] == "stores:read"
    assert (await authorize(http, client_id, scope="contacts:reveal"))["error"] == "access_denied"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"resource": "https://elsewhere.example/mcp"}, "invalid_target"),
    ],
)
async def test_a_bad_request_goes_back_to_the_client(http, issuer, client_id, changes, error):
    back = await authorize(http, client_id, **changes)
    assert (back["error"], back["state"], back["iss"]) == (error, "s1", issuer.url)
    assert "code" not in back


@pytest.mark.parametrize("params", [{"client_id": "unknown"}, {"redirect_uri": "http://127.0.0.1:1/other"}, {}])
async def test_an_unknown_client_or_redirect_is_sent_nowhere(http, client_id, params):
    answer = await http.get("/oauth2/authorize", params={"client_id": client_id, **params})
    assert answer.status_code == 400
    assert "Location" not in answer.headers


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"code_verifier": "w" * 43}, "invalid_grant"),
        ({"code_verifier": "short"}, "invalid_grant"),
        ({"redirect_uri": "http://127.0.0.1:1/other"}, "invalid_grant"),
        ({"resource": "https://elsewhere.example/mcp"}, "invalid_target"),
        ({"code": "guessed"}, "invalid_grant"),
        ({"client_id": "unknown"}, "invalid_client"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"scope": "contacts:reveal"}, "invalid_scope"),
    ],
)
async def test_a_code_is_refused(http, client_id, changes, error):
    answer = await redeem(http, client_id, **changes)
    assert answer.status_code == (401 if error == "invalid_client" else 400)
    assert answer.json()["error"] == error


async def test_a_code_used_twice_ends_its_refresh_token_too(http, client_id):
    code = (await authorize(http, client_id))["code"]
    first = await http.post("/oauth2/token", data=form(client_id, code))
    assert (await http.post("/oauth2/token", data=form(client_id, code))).json()["error"] == "invalid_grant"
    again = await refresh(http, client_id, first.json()["refresh_token"])
    assert again.json()["error"] == "invalid_grant"


async def test_refresh_tokens_rotate_and_a_stolen_one_ends_the_grant(http, client_id):
    first = (await redeem(http, client_id)).json()["refresh_token"]
    second = (await refresh(http, client_id, first)).json()["refresh_token"]
    assert second != first
    assert (await refresh(http, client_id, first)).json()["error"] == "invalid_grant"
    assert (await refresh(http, client_id, second)).json()["error"] == "invalid_grant"


async def test_revoking_ends_refreshing_for_that_client_only(http, issuer, client_id):
    mine = (await redeem(http, client_id)).json()["refresh_token"]
    assert issuer.revoke("another-user", client_id) == 0
    assert issuer.revoke("ada", client_id) == 1
    assert (await refresh(http, client_id, mine)).status_code == 400
    assert (await redeem(http, client_id)).status_code == 200


async def test_a_client_can_give_up_its_refresh_token(http, client_id):
    token = (await redeem(http, client_id)).json()["refresh_token"]
    for sent in ("unknown", token):
        answer = await http.post("/oauth2/revoke", data={"client_id": client_id, "token": sent})
        assert answer.status_code == 200
    assert (await refresh(http, client_id, token)).status_code == 400


@pytest.mark.parametrize(
    "document",
    [
        "[]",
        "not json",
        '{"redirect_uris": []}',
        '{"redirect_uris": [7]}',
        '{"redirect_uris": ["http://elsewhere.example/"]}',
        '{"redirect_uris": ["https://ok.example/#here"]}',
    ],
)
async def test_registrations_are_refused(http, document):
    assert (await http.post("/oauth2/register", content=document)).status_code == 400


async def test_a_parameter_must_not_come_twice(http, client_id):
    answer = await http.get(f"/oauth2/authorize?client_id={client_id}&client_id={client_id}")
    assert answer.json()["error"] == "invalid_request"


async def test_keys_rotate_and_can_be_down(http, issuer):
    old = issuer.mint()
    new_key = issuer.rotate()
    published = (await http.get("/jwks")).json()["keys"]
    assert [key["kid"] for key in published] == [issuer.keys[0].kid, new_key.kid]
    assert all("d" not in key for key in published)
    assert jwt.get_unverified_header(issuer.mint())["kid"] == new_key.kid
    assert claims(issuer, old)["sub"] == "ada"
    issuer.keys_down = True
    assert (await http.get("/jwks")).status_code == 503
    assert issuer.key_fetches == 2


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
async def test_invalid_tokens_can_be_minted(algorithm):
    issuer = TrialIssuer(
        resources=(RESOURCE,), scopes=SCOPES, keys=[Signer(algorithm)], url="http://127.0.0.1:1/api/auth"
    )
    assert claims(issuer, issuer.mint(scopes=["stores:read"]))["scope"] == "stores:read"
    with pytest.raises(jwt.ExpiredSignatureError):
        claims(issuer, issuer.mint(lifetime=-1))
    with pytest.raises(jwt.InvalidAudienceError):
        claims(issuer, issuer.mint(audience="https://elsewhere.example"))
    assert "jti" not in claims(issuer, issuer.mint(jti=None))


def test_other_algorithms_are_not_known():
    with pytest.raises(ValueError, match="HS256"):
        Signer("HS256")
