from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import ErrorCode, Refusal
from sidecar.identity import claims
from sidecar.identity.jwt import jwt_claims
from sidecar.model import Caller
from tests.identity.support import NOW, Clock, configured, refused
from tests.support.issuer import ISSUER, RESOURCE, SCOPES, Issuer, encode

T = TypeVar("T")

ISSUED = Issuer(clock=Clock())
SETTINGS = configured(ISSUED)


def judge(token: str, *, now: float = NOW, resource: str = RESOURCE, **keys: Any) -> Caller:
    """All of gate 2 but the signature."""
    settings = configured(ISSUED, **keys) if keys else SETTINGS
    taken = jwt_claims.read(token)
    jwt_claims.check(taken, settings, resource, now)
    return jwt_claims.caller(taken, settings, now)


def raw(header: str | bytes | None = None, payload: str | bytes | None = None) -> str:
    """A signed token with this very text for its header or payload."""
    return ISSUED.signer.sign(header or ISSUED.header(), payload or ISSUED.claims())


def with_text(member: str) -> str:
    """A good payload with one more member, written as it is."""
    return json.dumps(ISSUED.claims())[:-1] + "," + member + "}"


# --- the header ----------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["Bearer abc", "bearer abc", "BEARER abc", " Bearer abc\t", "Bearer   abc"])
def test_bearer_is_read_in_any_case_and_after_any_number_of_spaces(value: str):
    assert claims.bearer([value]) == "abc"


@pytest.mark.parametrize(
    "values", [[], ["Basic dXNlcjpwYXNz"], ["Bearer"], ["Bearer "], [""], ["DPoP abc"], ["Bearerabc"]]
)
def test_no_bearer_token_is_missing(values: list[str]):
    with refused(ErrorCode.TOKEN_MISSING):
        claims.bearer(values)


PIECES = ["Bearer", "bearer", "BEARER", "Bearer ", " ", "\t", "\n", "a", "\u00a0", "DPoP", ""]


@given(st.lists(st.sampled_from(PIECES), max_size=6).map("".join))
def test_the_token_is_all_after_the_scheme_and_its_spaces(value: str):
    scheme, space, rest = value.strip(" \t").partition(" ")
    token = rest.lstrip(" ")
    if scheme.lower() == "bearer" and space and token:
        assert claims.bearer([value]) == token
    else:
        with refused(ErrorCode.TOKEN_MISSING):
            claims.bearer([value])


@pytest.mark.parametrize("values", [["Bearer a", "Bearer a"], ["Bearer a", "Basic b"], ["", ""]])
def test_two_authorization_headers_are_refused(values: list[str]):
    with refused(ErrorCode.TOKEN_INVALID, "more than one"):
        claims.bearer(values)


@pytest.mark.parametrize("value", ["Bearer {} {}", "Bearer {}, Bearer {}", "Bearer {},", "Bearer\t{}", 'Bearer "{}"'])
def test_a_token_is_one_word(value: str):
    with pytest.raises(Refusal):
        jwt_claims.read(claims.bearer([value.format(*[ISSUED.mint()] * 2)]))


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
def test_a_token_that_is_no_jws_is_refused(token: str):
    with refused(ErrorCode.TOKEN_INVALID):
        jwt_claims.read(token)


def test_an_endless_token_is_refused():
    with refused(ErrorCode.TOKEN_INVALID):
        jwt_claims.read(ISSUED.mint(pad="x" * claims.MAX_TOKEN))


@pytest.mark.parametrize("index", [0, 1, 2])
@pytest.mark.parametrize("change", ["{}=", "{}==", " {}", "{}\n", "{}!", "+{}", "{}/"])
def test_a_segment_has_one_spelling(index: int, change: str):
    segments = ISSUED.mint().split(".")
    segments[index] = change.format(segments[index])
    with refused(ErrorCode.TOKEN_INVALID):
        jwt_claims.read(".".join(segments))


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
    jwt_claims.read(".".join(segments))
    segments[index] = segments[index][:-1] + alphabet[alphabet.index(segments[index][-1]) + 1]
    assert base64.urlsafe_b64decode(segments[index] + "==")
    with refused(ErrorCode.TOKEN_INVALID):
        jwt_claims.read(".".join(segments))


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
        b'{"exp":NaN}',
        b'{"exp":-Infinity}',
        b'{"exp":01}',
        b'{"sub":"a\n"}',
        b'{"a":' * 200 + b"1" + b"}" * 200,
    ],
)
def test_both_parts_are_json_objects(text: bytes):
    for part, token in (("header", raw(header=text)), ("payload", raw(payload=text))):
        with refused(ErrorCode.TOKEN_INVALID, f"its {part} is n"):
            jwt_claims.read(token)


@pytest.mark.parametrize("member", ['"sub":"eve"', '"s\\u0075b":"eve"', '"x":{"a":1,"a":1}'])
def test_a_claim_has_one_meaning(member: str):
    with refused(ErrorCode.TOKEN_INVALID, "its payload repeats a member name: "):
        jwt_claims.read(raw(payload=with_text(member)))


@pytest.mark.parametrize(
    "member",
    [
        '"SUB":"eve"',
        '"\u017fub":"eve"',
        '"x":"\\ud800"',
        '"\\ud800":"x"',
        '"n\\u0000":1',
        '"x":1e400',
        '"x":-0',
        f'"x":{"9" * 5000}',
        f'"x":0.{"9" * 5000}',
        '"x":9007199254740993',
        f'"{"k" * 3000}":{{}}',
        '"x":"' + "a\u0301" * 400 + '"',
        '"nonce":"n"',
        '"__proto__":{"aud":"x"}',
    ],
    ids=lambda text: ascii(text)[:24],
)
def test_what_is_not_understood_is_ignored(member: str):
    """RFC 7519 section 4: a claim that is not understood is ignored."""
    assert judge(raw(payload=with_text(member))).subject == "ada"


def test_a_header_parameter_has_one_meaning():
    with refused(ErrorCode.TOKEN_INVALID, "its header repeats a member name: alg"):
        jwt_claims.read(raw(header='{"alg":"none","alg":"RS256","typ":"at+jwt"}'))


@pytest.mark.parametrize(
    "parameter",
    [
        {"crit": ["exp"]},
        {"crit": []},
        {"crit": ["b64"], "b64": False},
        {"b64": False},
        {"b64": "yes"},
        {"enc": "A256GCM"},
        {"iss": "https://other.example"},
        {"sub": "eve"},
        {"aud": [RESOURCE]},
        {"kid": 1},
        {"kid": ["a"]},
        {"typ": 1},
        {"typ": ["at+jwt"]},
        {"alg": None},
        {"alg": 256},
        {"alg": ["RS256"]},
    ],
    ids=json.dumps,
)
def test_a_parameter_that_must_be_understood_is_refused(parameter: dict[str, Any]):
    with refused(ErrorCode.TOKEN_INVALID) as info:
        jwt_claims.read(ISSUED.mint(header=parameter))
    assert info.value.specifics["check"] in {*parameter, "crit"}


@pytest.mark.parametrize(
    "parameter",
    [
        {"jku": "https://evil.example/jwks"},
        {"x5u": "https://evil.example/cert"},
        {"jwk": {"kty": "RSA", "n": "AAAA", "e": "AQAB"}},
        {"x5c": ["MII"]},
        {"x5t": "t", "x5t#S256": 7},
        {"cty": "JWT"},
        {"zip": "DEF"},
        {"b64": True},
        {"nonce": "Microsoft Graph's", "svt": [10**400], "": None},
        {"iss": ISSUER, "sub": "ada", "aud": RESOURCE},
        {"kid": ""},
        {"kid": "k" * 5000},
        {"kid": "a b\u0301\0\ud800"},
        {"kid": None},
    ],
    ids=lambda parameter: ascii(parameter)[:30],
)
def test_another_parameter_is_ignored(parameter: dict[str, Any]):
    """RFC 7515 section 4: none is fetched, and a key in it is not used."""
    assert judge(ISSUED.mint(header=parameter)).subject == "ada"


def test_a_null_kid_is_no_kid_either():
    header = json.dumps({**ISSUED.header(), "kid": None})
    with refused(ErrorCode.TOKEN_INVALID, "kid"):
        jwt_claims.read(raw(header=header))


# --- checks against the config -------------------------------------------------------------------


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
        jwt_claims.issuer_of(jwt_claims.read(ISSUED.mint(iss=issuer)))


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
    [True, False, -1, -0.5, str(NOW), f" {NOW}", "1_8", "\uff11\uff18", [NOW], {}, NOW * 1000, 10**30, float("inf")],
    ids=repr,
)
def test_times_are_numbers_of_seconds(name: str, value: Any):
    with refused(ErrorCode.TOKEN_INVALID, f"its {name} is not"):
        judge(raw(payload=json.dumps({**ISSUED.claims(), name: value}).replace("Infinity", "1e999")))


def test_times_may_have_fractions_and_exponents():
    """RFC 7519 section 2, NumericDate; a fraction never lets a token live longer or look newer."""
    who = judge(ISSUED.mint(iat=NOW - 0.5, nbf=1.8e9, exp=NOW + 900.75))
    assert (who.issued_at, who.expires_at) == (NOW - 1, NOW + 900)
    assert judge(raw(payload=json.dumps(ISSUED.claims()).replace(str(NOW), "1.8e9"))).issued_at == NOW


def test_a_token_must_end():
    with refused(ErrorCode.TOKEN_INVALID, "its exp is missing"):
        judge(ISSUED.mint(exp=None))


@pytest.mark.parametrize("typ", ["JWT", None])
def test_a_token_without_iat_is_as_old_as_its_first_use(typ: str | None):
    """RFC 7519 section 4.1.6; RFC 9068 section 2.2 requires it of `at+jwt`."""
    assert judge(ISSUED.mint(iat=None, header={"typ": typ}), now=NOW + 5).issued_at == NOW + 5
    assert judge(ISSUED.mint(iat=None, header={"typ": typ}), now=NOW + 905).issued_at == NOW + 900
    with refused(ErrorCode.TOKEN_INVALID, "its iat is missing"):
        judge(ISSUED.mint(iat=None))


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


@pytest.mark.parametrize("lifetime", [0, -5])
def test_a_token_does_not_end_before_it_was_issued(lifetime: int):
    with refused(ErrorCode.TOKEN_INVALID, "its exp is not after its iat"):
        judge(ISSUED.mint(lifetime=lifetime))


@pytest.mark.parametrize("lifetime", [367 * 86400, 10 * 366 * 86400, 253402300799 - NOW])
def test_no_lifetime_is_too_long(lifetime: int):
    assert judge(ISSUED.mint(lifetime=lifetime)).expires_at == NOW + lifetime


# --- caller --------------------------------------------------------------------------------------

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
def test_a_name_that_is_too_long_is_refused_with_the_limit(size: int):
    with refused(ErrorCode.TOKEN_INVALID, "its sub has more than 255 characters") as info:
        judge(ISSUED.mint(sub="x" * size))
    assert info.value.log == f"its sub has more than 255 characters (found {size})"
    with refused(ErrorCode.TOKEN_INVALID, "its account claim has more than 255 characters"):
        judge(ISSUED.mint(org="x" * size), claims={"account": "org"})


@pytest.mark.parametrize("value", NO_NAMES, ids=repr)
def test_a_subject_is_a_name(value: object):
    with refused(ErrorCode.TOKEN_INVALID, "its sub ") as info:
        judge(ISSUED.mint(sub=value))
    assert info.value.specifics["check"] == "sub"


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


def test_the_client_is_required():
    with refused(ErrorCode.TOKEN_INVALID, "its client id is missing"):
        judge(ISSUED.mint(client_id=None))


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
        ({"scope": ["a", "Team B", "", "é"]}, {"a"}),
        ({"scope": {"a": {"1": "x"}, "b": {}}}, {"a", "b"}),
    ],
)
def test_scopes_are_words_or_a_list(extra: dict[str, Any], scopes: set[str]):
    assert judge(ISSUED.mint(scopes=[], **extra)).scopes == scopes


@pytest.mark.parametrize("scope", ["a\tb", "a\nb", 'a"b', "a\\b", "é", ["a", 1], [None], [["a"]], 7, True], ids=repr)
def test_malformed_scopes_are_refused(scope: object):
    with refused(ErrorCode.TOKEN_INVALID, "scope"):
        judge(ISSUED.mint(scope=scope))


# --- and in general ------------------------------------------------------------------------------


REFUSALS: dict[str, dict[str, Any]] = {
    "alg": {"header": {"alg": "WRONG"}},
    "typ": {"header": {"typ": "wrong"}},
    "kid": {"header": {"kid": ["WRONG"]}},
    "crit": {"header": {"crit": ["WRONG"]}},
    "iss": {"iss": "WRONG"},
    "iat": {"iat": "WRONG"},
    "nbf": {"nbf": "WRONG"},
    "exp": {"exp": "WRONG"},
    "cnf": {"cnf": "WRONG"},
    "sub": {"sub": "WRONG\n"},
    "client_id": {"client_id": ["WRONG"]},
    "kind": {"token_use": "WRONG"},
}


@pytest.mark.parametrize(("check", "change"), REFUSALS.items(), ids=REFUSALS)
def test_a_refusal_has_the_value_that_was_wrong_and_not_the_token(check: str, change: dict[str, Any]):
    token = ISSUED.mint(**change, bystander="SECRETSECRET")
    with pytest.raises(Refusal) as info:
        judge(token)
    said = f"{info.value.detail}{info.value.log}{dict(info.value.specifics)}{info.value!r}"
    assert info.value.specifics["check"] == check
    assert "wrong" in info.value.specifics["found"].lower()
    assert "wrong" in info.value.detail.lower()
    assert not any(part in said for part in (*token.split("."), "SECRETSECRET"))


def test_no_refusal_repeats_a_malformed_token():
    secret = "SECRETSECRET"
    for token in (
        secret,
        f"{secret}.b",
        f"{secret}.{secret}.{secret}",
        f"e30.{secret}.",
        f"a.b.c.d.{secret}",
        f"e30.e30.{secret}",
    ):
        with pytest.raises(Refusal) as info:
            judge(token)
        assert secret not in f"{info.value.detail}{info.value.log}{dict(info.value.specifics)}{info.value!r}"
    assert ISSUED.mint()[:40] not in repr(jwt_claims.read(ISSUED.mint()))


@pytest.mark.parametrize("name", ["iss", "iat", "nbf", "exp", "cnf", "typ"])
def test_a_null_is_shown_as_found(name: str):
    with pytest.raises(Refusal) as info:
        judge(raw(payload=json.dumps({**ISSUED.claims(), name: None})))
    assert info.value.specifics["found"] == "null"


def test_every_refusal_has_its_own_sentence():
    sentences = set()
    for change in REFUSALS.values():
        with pytest.raises(Refusal) as info:
            judge(ISSUED.mint(**change))
        sentences.add(info.value.detail.partition(" (found")[0])
    assert len(sentences) == len(REFUSALS)


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
    _or_invalid(lambda: jwt_claims.read(text))
