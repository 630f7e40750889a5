from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import ErrorCode, Refusal
from sidecar.identity import claims, claims_jwt
from sidecar.model import Caller
from tests.identity.support import NOW, Clock, configured, refused
from tests.support.issuer import ISSUER, RESOURCE, SCOPES, Issuer, encode

T = TypeVar("T")

ISSUED = Issuer(clock=Clock())
SETTINGS = configured(ISSUED)


def judge(token: str, *, now: float = NOW, resource: str = RESOURCE, **keys: Any) -> Caller:
    """All of gate 2 but the signature."""
    settings = configured(ISSUED, **keys) if keys else SETTINGS
    taken = claims_jwt.read(token)
    claims_jwt.check(taken, settings, resource, now)
    return claims_jwt.caller(taken, settings)


def raw(header: str | bytes | None = None, payload: str | bytes | None = None) -> str:
    """A signed token with this very text for its header or payload."""
    return ISSUED.signer.sign(header or ISSUED.header(), payload or ISSUED.claims())


def with_text(member: str) -> str:
    """A good payload with one more member, written as it is."""
    return json.dumps(ISSUED.claims())[:-1] + "," + member + "}"


# --- the header ----------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["Bearer abc", "bearer abc", "BEARER abc", " Bearer abc\t"])
def test_bearer_is_read_in_any_case(value: str):
    assert claims.bearer([value]) == "abc"


@pytest.mark.parametrize(
    "values", [[], ["Basic dXNlcjpwYXNz"], ["Bearer"], ["Bearer "], [""], ["DPoP abc"], ["Bearerabc"]]
)
def test_no_bearer_token_is_missing(values: list[str]):
    with refused(ErrorCode.TOKEN_MISSING):
        claims.bearer(values)


@pytest.mark.parametrize("values", [["Bearer a", "Bearer a"], ["Bearer a", "Basic b"], ["", ""]])
def test_two_headers_are_never_chosen_between(values: list[str]):
    with refused(ErrorCode.TOKEN_INVALID, "more than one"):
        claims.bearer(values)


@pytest.mark.parametrize(
    "value", ["Bearer  {}", "Bearer {} {}", "Bearer {}, Bearer {}", "Bearer {},", "Bearer\t{}", 'Bearer "{}"']
)
def test_a_token_is_one_word(value: str):
    with pytest.raises(Refusal):
        claims_jwt.read(claims.bearer([value.format(*[ISSUED.mint()] * 2)]))


# --- the token's form ----------------------------------------------------------------------------


def test_a_good_token_makes_a_caller():
    assert judge(ISSUED.mint()) == Caller(
        issuer_id="main",
        issuer=ISSUER,
        subject="ada",
        account="ada",
        client_id="cli-1",
        scopes=frozenset(SCOPES),
        issued_at=NOW,
        expires_at=NOW + 900,
    )


@pytest.mark.parametrize(
    "token", ["", "a", "a.b", "a.b.c.d", "a.b.c.d.e", "..", "a..c", "opaque-token", "é.é.é", "a.b.\udcff"]
)
def test_what_is_no_jws_is_refused(token: str):
    with refused(ErrorCode.TOKEN_INVALID):
        claims_jwt.read(token)


def test_an_endless_token_is_refused():
    with refused(ErrorCode.TOKEN_INVALID):
        claims_jwt.read(ISSUED.mint(pad="x" * claims.MAX_TOKEN))


@pytest.mark.parametrize("index", [0, 1, 2])
@pytest.mark.parametrize("change", ["{}=", "{}==", " {}", "{}\n", "{}!", "+{}", "{}/"])
def test_a_segment_has_one_spelling(index: int, change: str):
    segments = ISSUED.mint().split(".")
    segments[index] = change.format(segments[index])
    with refused(ErrorCode.TOKEN_INVALID):
        claims_jwt.read(".".join(segments))


@pytest.mark.parametrize("index", [0, 1])
def test_left_over_bits_must_be_zero(index: int):
    segments = raw(json.dumps(ISSUED.header(x="")).encode(), b"").split(".")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for padding in range(3):  # one of three lengths has four left-over bits
        header = encode(json.dumps(ISSUED.header(x="x" * padding)))
        payload = encode(json.dumps(ISSUED.claims(x="x" * padding)))
        segments = [header, payload, "c2ln"]
        if len(segments[index]) % 4 == 2:
            break
    claims_jwt.read(".".join(segments))
    segments[index] = segments[index][:-1] + alphabet[alphabet.index(segments[index][-1]) + 1]
    assert base64.urlsafe_b64decode(segments[index] + "==")
    with refused(ErrorCode.TOKEN_INVALID):
        claims_jwt.read(".".join(segments))


@pytest.mark.parametrize(
    "text",
    [
        b"[]",
        b"null",
        b'"text"',
        b"{",
        b"{}{}",
        b"\xff\xfe",
        b"\xef\xbb\xbf{}",
        '{"iss":"x"}'.encode("utf-16"),
        b'{"sub":"\\ud800"}',
        b'{"exp":NaN}',
        b'{"exp":1e400}',
        b'{"a":' * 200 + b"1" + b"}" * 200,
        b'{"n\\u0000":1}',
    ],
)
def test_both_parts_are_strict_json_objects(text: bytes):
    for token in (raw(header=text), raw(payload=text)):
        with refused(ErrorCode.TOKEN_INVALID, "well-formed"):
            claims_jwt.read(token)


@pytest.mark.parametrize("member", ['"sub":"eve"', '"s\\u0075b":"eve"', '"SUB":"eve"', '"\u017fub":"eve"'])
def test_a_claim_has_one_meaning(member: str):
    with refused(ErrorCode.TOKEN_INVALID, "well-formed"):
        claims_jwt.read(raw(payload=with_text(member)))


def test_a_header_parameter_has_one_meaning():
    with refused(ErrorCode.TOKEN_INVALID, "well-formed"):
        claims_jwt.read(raw(header='{"alg":"none","alg":"RS256","typ":"at+jwt"}'))


@pytest.mark.parametrize(
    "parameter",
    [
        {"crit": ["exp"]},
        {"crit": []},
        {"crit": ["b64"], "b64": False},
        {"b64": True},
        {"zip": "DEF"},
        {"cty": "JWT"},
        {"jku": "https://evil.example/jwks"},
        {"x5u": "https://evil.example/cert"},
        {"jwk": {"kty": "RSA"}},
        {"x5c": ["MII"]},
        {"enc": "A256GCM"},
        {"kid": 1},
        {"kid": ["a"]},
        {"kid": ""},
        {"kid": "k" * 129},
        {"typ": 1},
        {"typ": ["at+jwt"]},
        {"alg": None},
        {"alg": 256},
        {"alg": ["RS256"]},
    ],
    ids=json.dumps,
)
def test_the_header_brings_nothing_of_its_own(parameter: dict[str, Any]):
    with refused(ErrorCode.TOKEN_INVALID):
        claims_jwt.read(ISSUED.mint(header=parameter))


def test_a_null_kid_is_no_kid_either():
    header = json.dumps({**ISSUED.header(), "kid": None})
    with refused(ErrorCode.TOKEN_INVALID, "kid"):
        claims_jwt.read(raw(header=header))


# --- held against the config ---------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["none", "nOnE", "HS256", "HS512", "rs256", "ES256K", "ES521", "RS1", ""])
def test_only_asymmetric_algorithms_are_accepted(algorithm: str):
    with refused(ErrorCode.TOKEN_INVALID, "algorithm"):
        judge(ISSUED.mint(header={"alg": algorithm}))


def test_the_config_narrows_algorithms():
    with refused(ErrorCode.TOKEN_INVALID, "algorithm"):
        judge(ISSUED.mint(), algorithms=["ES256", "EdDSA"])


@pytest.mark.parametrize("issuer", [ISSUER + "/", ISSUER.upper(), ISSUER[:-1], "", None, [ISSUER], {"a": ISSUER}])
def test_iss_is_compared_exactly(issuer: object):
    with refused(ErrorCode.TOKEN_INVALID, "issuer"):
        judge(ISSUED.mint(iss=issuer))


@pytest.mark.parametrize("issuer", [None, 7, [ISSUER], {}])
def test_iss_is_text(issuer: object):
    with refused(ErrorCode.TOKEN_INVALID, "issuer"):
        claims_jwt.issuer_of(claims_jwt.read(ISSUED.mint(iss=issuer)))


@pytest.mark.parametrize(
    "typ", ["at+jwt", "AT+JWT", "application/at+jwt", "Application/AT+JWT", None, "JWT", "jwt", "application/jwt"]
)
def test_typ_is_that_of_access_tokens(typ: str):
    judge(ISSUED.mint(header={"typ": typ}))


@pytest.mark.parametrize(
    "typ", ["", "id_token", "oauth-id-jag+jwt", "logout+jwt", "dpop+jwt", "text/at+jwt", "at+jwt "]
)
def test_another_typ_is_refused(typ: str | None):
    with refused(ErrorCode.TOKEN_INVALID, "typ"):
        judge(ISSUED.mint(header={"typ": typ}))


def test_other_types_can_be_accepted():
    assert judge(ISSUED.mint(header={"typ": "at-2+jwt"}), typ=["at-2+jwt", "at+jwt"]).subject == "ada"


@pytest.mark.parametrize("typ", [None, "JWT"])
def test_only_access_tokens_of_rfc_9068_are_accepted_when_the_config_says_so(typ: str | None):
    with refused(ErrorCode.TOKEN_INVALID, "typ"):
        judge(ISSUED.mint(header={"typ": typ}), typ="at+jwt")


def test_the_config_replaces_the_usual_typ():
    with refused(ErrorCode.TOKEN_INVALID, "typ"):
        judge(ISSUED.mint(), typ="JWT")


@pytest.mark.parametrize("extra", [{"nonce": "n"}, {"at_hash": "h"}, {"c_hash": "h"}])
@pytest.mark.parametrize("typ", [None, "JWT"])
def test_an_id_token_is_no_access_token_whatever_typ_is_accepted(typ: str | None, extra: dict[str, Any]):
    with refused(ErrorCode.TOKEN_INVALID, "ID token"):
        judge(ISSUED.mint(header={"typ": typ}, **extra))


def test_a_token_bound_to_a_key_is_no_bearer_token():
    with refused(ErrorCode.TOKEN_INVALID, "bound to a key"):
        judge(ISSUED.mint(cnf={"jkt": "thumbprint"}))


@pytest.mark.parametrize("audience", [RESOURCE, [RESOURCE], ["https://issuer.example/userinfo", RESOURCE]])
def test_the_resource_is_among_the_audience(audience: str | list[str]):
    judge(ISSUED.mint(audience=audience))


@pytest.mark.parametrize(
    "audience",
    [
        [],
        "",
        {},
        {"aud": RESOURCE},
        [[RESOURCE]],
        [RESOURCE, 1],
        [RESOURCE, None],
        7,
        True,
        RESOURCE + "/",
        RESOURCE + "/x",
        RESOURCE[:-1],
        RESOURCE.upper(),
        RESOURCE + " ",
        "https://mcp.example.com",
        "https://other.example/mcp",
    ],
    ids=repr,
)
def test_another_audience_is_refused(audience: Any):
    with refused(ErrorCode.TOKEN_INVALID):
        judge(ISSUED.mint(aud=audience))


def test_the_audience_is_required():
    with refused(ErrorCode.TOKEN_INVALID, "aud"):
        judge(ISSUED.signer.sign(ISSUED.header(), {k: v for k, v in ISSUED.claims().items() if k != "aud"}))


@pytest.mark.parametrize("resource", ["https://h.example", "https://h.example/"])
@pytest.mark.parametrize("audience", ["https://h.example", "https://h.example/"])
def test_a_bare_host_may_have_a_slash(resource: str, audience: str):
    judge(ISSUED.mint(audience=audience), resource=resource)


def test_a_bare_host_is_not_all_of_its_paths():
    with refused(ErrorCode.TOKEN_INVALID, "another resource"):
        judge(ISSUED.mint(audience="https://h.example/mcp"), resource="https://h.example")


def test_an_issuer_may_have_its_own_audience():
    assert judge(ISSUED.mint(audience="mcp-api"), audience="mcp-api").subject == "ada"
    with refused(ErrorCode.TOKEN_INVALID, "another resource"):
        judge(ISSUED.mint(), audience="mcp-api")


def test_an_issuer_may_have_several_audiences():
    for audience in ("mcp-api", "old-api", ["old-api", "userinfo"]):
        judge(ISSUED.mint(audience=audience), audience=["mcp-api", "old-api"])
    with refused(ErrorCode.TOKEN_INVALID, "another resource"):
        judge(ISSUED.mint(audience="mcp"), audience=["mcp-api", "old-api"])


# --- times ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["iat", "exp", "nbf"])
@pytest.mark.parametrize(
    "value",
    [True, False, -1, 1.5, float(NOW), str(NOW), f" {NOW}", "1_8", "\uff11\uff18", [NOW], {}, 2**40 + 1, 10**30],
    ids=repr,
)
def test_times_are_plain_integers(name: str, value: Any):
    with refused(ErrorCode.TOKEN_INVALID, name):
        judge(ISSUED.mint(**{name: value}))


@pytest.mark.parametrize("name", ["iat", "exp"])
def test_times_are_required(name: str):
    with refused(ErrorCode.TOKEN_INVALID, name):
        judge(ISSUED.mint(**{name: None}))


def test_a_null_nbf_is_not_an_absent_one():
    with refused(ErrorCode.TOKEN_INVALID, "nbf"):
        judge(raw(payload=with_text('"nbf":null')))


@pytest.mark.parametrize(
    ("late", "fine"), [(0, True), (899, True), (909, True), (910, False), (911, False), (10_000, False)]
)
def test_a_token_ends_at_exp_and_leeway(late: int, fine: bool):
    token = ISSUED.mint(lifetime=900)
    if fine:
        judge(token, now=NOW + late)
    else:
        with refused(ErrorCode.TOKEN_INVALID, "expired"):
            judge(token, now=NOW + late)


def test_leeway_is_configured():
    judge(ISSUED.mint(), now=NOW + 900 + 59, leeway="60s")
    with refused(ErrorCode.TOKEN_INVALID, "expired"):
        judge(ISSUED.mint(), now=NOW + 900, leeway="0s")


@pytest.mark.parametrize("name", ["iat", "nbf"])
def test_a_token_of_the_future_is_refused(name: str):
    latest: dict[str, Any] = {name: NOW + 10}
    judge(ISSUED.mint(**latest))
    latest[name] += 1
    with refused(ErrorCode.TOKEN_INVALID):
        judge(ISSUED.mint(**latest))


@pytest.mark.parametrize("lifetime", [0, -5, claims.MAX_LIFETIME + 1, 2**39])
def test_a_lifetime_is_plausible(lifetime: int):
    with refused(ErrorCode.TOKEN_INVALID, "lifetime"):
        judge(ISSUED.mint(lifetime=lifetime))


# --- who -----------------------------------------------------------------------------------------

NO_NAMES = [
    "",
    " ",
    " a",
    "a ",
    "a\nb",
    "a\0b",
    "a\tb",
    "\x1b[31m",
    "a\u2028b",
    "a\u200bb",
    "a\u202eb",
    7,
    True,
    ["a"],
    {},
]


@pytest.mark.parametrize("size", [256, 10_000])
def test_a_name_that_is_too_long_is_told_so(size: int):
    with refused(ErrorCode.TOKEN_INVALID, "its sub has more than 255 characters") as info:
        judge(ISSUED.mint(sub="x" * size))
    assert info.value.log == "its sub has more than 255 characters"
    with refused(ErrorCode.TOKEN_INVALID, "its account claim has more than 255 characters"):
        judge(ISSUED.mint(org="x" * size), claims={"account": "org"})


@pytest.mark.parametrize("value", NO_NAMES, ids=repr)
def test_a_subject_is_a_name(value: object):
    with refused(ErrorCode.TOKEN_INVALID, "sub is"):
        judge(ISSUED.mint(sub=value))


@pytest.mark.parametrize("value", ["a", "auth0|123", "a:b", "{a}", "Åsa Ö", "x" * 255, "a b"])
def test_subjects_are_opaque(value: str):
    assert judge(ISSUED.mint(subject=value)).subject == value


@pytest.mark.parametrize("value", [*NO_NAMES, "x" * 2049], ids=repr)
def test_a_client_id_is_a_name(value: object):
    with refused(ErrorCode.TOKEN_INVALID, "client id"):
        judge(ISSUED.mint(client_id=value, azp="fallback"))


def test_a_client_id_may_be_a_url():
    url = "https://client.example/.well-known/oauth-client?" + "x" * 300
    assert judge(ISSUED.mint(client_id=url)).client_id == url


@pytest.mark.parametrize("name", ["sub", "client_id"])
def test_the_names_are_required(name: str):
    with refused(ErrorCode.TOKEN_INVALID, "missing"):
        judge(ISSUED.mint(**{name: None}))


def test_azp_names_the_client_where_client_id_is_absent():
    assert judge(ISSUED.mint(client_id=None, azp="other")).client_id == "other"
    assert judge(ISSUED.mint(azp="other")).client_id == "cli-1"


def test_claims_are_configured():
    names = {"account": "org_id", "client_id": "cid", "scopes": "permissions"}
    who = judge(ISSUED.mint(org_id="acme", cid="app", permissions=["stores:read"]), claims=names)
    assert (who.subject, who.account, who.client_id) == ("ada", "acme", "app")
    assert who.scopes == {"stores:read"}


def test_a_configured_claim_has_no_fallback():
    for name in ("account", "client_id"):
        with refused(ErrorCode.TOKEN_INVALID, "missing"):
            judge(ISSUED.mint(), claims={name: "absent"})
    assert judge(ISSUED.mint(), claims={"scopes": "absent"}).scopes == frozenset()


@pytest.mark.parametrize(
    ("extra", "scopes"),
    [
        ({"scope": "a b"}, {"a", "b"}),
        ({"scope": "a  b "}, {"a", "b"}),
        ({"scope": ""}, set()),
        ({"scope": None}, set()),
        ({"scope": ["a", "b"]}, {"a", "b"}),
        ({"scope": []}, set()),
        ({"scope": None, "scp": ["a"]}, {"a"}),
        ({"scope": None, "scp": "a b"}, {"a", "b"}),
        ({"scope": "a", "scp": "b"}, {"a"}),
    ],
)
def test_scopes_are_words_or_a_list(extra: dict[str, Any], scopes: set[str]):
    assert judge(ISSUED.mint(scopes=[], **extra)).scopes == scopes


@pytest.mark.parametrize(
    "scope", ["a\tb", "a\nb", 'a"b', "a\\b", "é", ["a b"], ["a", 1], [""], 7, True, {"a": 1}], ids=repr
)
def test_malformed_scopes_are_refused(scope: object):
    with refused(ErrorCode.TOKEN_INVALID, "scope"):
        judge(ISSUED.mint(scope=scope))


# --- and in general ------------------------------------------------------------------------------


def test_no_refusal_repeats_the_token():
    secret = "SECRETSECRET"
    bad: list[dict[str, Any]] = [
        {"sub": f"{secret}\n"}, {"aud": secret}, {"iss": secret}, {"exp": secret}, {"scope": f'"{secret}'},
        {"header": {"alg": secret}}, {"header": {"typ": secret}}, {"header": {"kid": [secret]}}, {"cnf": secret},
    ]  # fmt: skip
    for change in bad:
        with pytest.raises(Refusal) as info:
            judge(ISSUED.mint(**change))
        assert secret not in f"{info.value.detail}{info.value.log}{info.value!r}"
    assert ISSUED.mint()[:40] not in repr(claims_jwt.read(ISSUED.mint()))


def _or_invalid(reads: Callable[[], T]) -> T | None:
    try:
        return reads()
    except Refusal as refusal:
        if refusal.code is not ErrorCode.TOKEN_INVALID:
            raise
        return None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(st.sampled_from(["iss", "sub", "aud", "client_id", "scope", "iat", "exp", "nbf", "cnf"]), json_values)
def test_any_claim_makes_a_caller_or_a_refusal(name: str, value: Any):
    token = ISSUED.mint(**{name: value})
    who = _or_invalid(lambda: judge(token))
    if who is not None:
        assert who.issuer == ISSUER
        assert who.subject.isprintable()


@given(st.text(alphabet=st.characters(codec=None)) | st.from_regex(r"[A-Za-z0-9_.=-]{0,80}", fullmatch=True))
def test_any_text_is_read_or_refused(text: str):
    _or_invalid(lambda: claims_jwt.read(text))
