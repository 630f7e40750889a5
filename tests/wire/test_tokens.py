"""Forged tokens that libraries accept, and credentials in wrong places: 401, and no log or answer repeats them."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt import PyJWK

from tests.support.issuer import Issuer, Signer, encode
from tests.support.rig import LEGACY, MODERN
from tests.wire.expected import BAD_TOKEN, FORWARDED, HTTP, NO_TOKEN, Outcome, Refused
from tests.wire.sent import GOOD, Changes, Message
from tests.wire.wire import Wire

pytestmark = pytest.mark.asyncio(loop_scope="module")

Forge = Callable[[Issuer], str]


def minted(**changes: Any) -> Forge:
    """A token with these claims, or `header` parameters, and a good signature."""
    return lambda issuer: issuer.mint(**changes)


def written(*, header: str | bytes | None = None, payload: str | bytes | None = None) -> Forge:
    """A token with this very text in its header or payload, and a good signature."""
    return lambda issuer: issuer.signer.sign(header or issuer.header(), payload or issuer.claims())


def with_member(member: str) -> Forge:
    """A good payload with one more member, as text."""
    return lambda issuer: issuer.signer.sign(issuer.header(), json.dumps(issuer.claims())[:-1] + f",{member}}}")


def changed(change: Callable[[str], str]) -> Forge:
    return lambda issuer: change(issuer.mint())


def keyed_with_the_public_key(issuer: Issuer) -> str:
    """HS256 with what everybody knows as its secret."""
    public = PyJWK(issuer.signer.jwk).key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signed = f"{encode(issuer.header(alg='HS256'))}.{encode(issuer.claims())}"
    return f"{signed}.{encode(hmac.digest(public, signed.encode(), hashlib.sha256))}"


def by_a_stranger(issuer: Issuer) -> str:
    return issuer.mint(signer=Signer(kid=issuer.signer.kid, number=9))


def by_its_own_key(issuer: Issuer) -> str:
    stranger = Signer(kid=issuer.signer.kid, number=9)
    return issuer.mint(signer=stranger, header={"jwk": stranger.jwk, "jku": "https://evil.example/jwks"})


def unsigned(issuer: Issuer) -> str:
    return f"{encode(issuer.header(alg='none'))}.{encode(issuer.claims())}."


FORGED: dict[str, Forge] = {
    "alg none, no signature": unsigned,
    "alg none": minted(header={"alg": "none"}),
    "alg nOnE": minted(header={"alg": "nOnE"}),
    "HS256 with the public key": keyed_with_the_public_key,
    "another algorithm than the key's": minted(header={"alg": "PS256"}),
    "another key": by_a_stranger,
    "crit": minted(header={"crit": ["x"]}),
    "crit empty": minted(header={"crit": []}),
    "b64": minted(header={"crit": ["b64"], "b64": False}),
    "kid no text": minted(header={"kid": 1}),
    "an encrypted one": minted(header={"enc": "A256GCM"}),
    "another issuer in its header": minted(header={"iss": "https://evil.example"}),
    "its own key": by_its_own_key,
    "aud null": lambda issuer: issuer.signer.sign(issuer.header(), json.dumps({**issuer.claims(), "aud": None})),
    "aud none": minted(aud=[]),
    "aud an object": minted(aud={"a": 1}),
    "aud nested": lambda issuer: issuer.mint(aud=[[issuer.resource]]),
    "aud mixed": lambda issuer: issuer.mint(aud=[issuer.resource, 1]),
    "aud a prefix": lambda issuer: issuer.mint(aud=issuer.resource[:-1]),
    "aud longer": lambda issuer: issuer.mint(aud=issuer.resource + "/x"),
    "aud missing": lambda issuer: issuer.signer.sign(
        issuer.header(), {name: value for name, value in issuer.claims().items() if name != "aud"}
    ),
    "iss with a slash": lambda issuer: issuer.mint(iss=issuer.url + "/"),
    "iss in capitals": lambda issuer: issuer.mint(iss=issuer.url.upper()),
    "iss a list": lambda issuer: issuer.mint(iss=[issuer.url]),
    "iss missing": minted(iss=None),
    "four parts": changed(lambda token: f"{token}.x"),
    "five parts": changed(lambda token: f"{token}.x.y"),
    "two parts": changed(lambda token: token.rpartition(".")[0]),
    "a blank in it": changed(lambda token: token.replace(".", ". ", 1)),
    "letters of no alphabet": changed(lambda token: token + "!"),
    "padding": changed(lambda token: token + "=="),
    "the other alphabet": changed(lambda token: token.replace("_", "/").replace("-", "+") + "/"),
    "bits left over": changed(lambda token: token[:-1] + chr(ord(token[-1]) ^ 1) + "B"),
    "typ of another token": minted(header={"typ": "logout+jwt"}),
    "typ of a proof": minted(header={"typ": "dpop+jwt"}),
    "an ID token": minted(header={"typ": "JWT"}, at_hash="h"),
    "a refresh token": minted(header={"typ": "JWT"}, typ="Refresh"),
    "bound to a key": minted(cnf={"jkt": "x"}),
    "exp missing": minted(exp=None),
    "exp in words": minted(exp=" 1900000000 "),
    "exp with underscores": minted(exp="1_900_000_000"),
    "exp in other digits": minted(exp="\uff11\uff19\uff10\uff10\uff10\uff10\uff10\uff10\uff10\uff10"),
    "exp true": minted(exp=True),
    "exp a list": minted(exp=[2_000_000_000]),
    "exp endless": minted(exp=10**30),
    "exp NaN": with_member('"x":NaN'),
    "exp Infinity": with_member('"x":Infinity'),
    "expired": minted(age=1000, lifetime=900),
    "of the future": minted(age=-600),
    "nbf true": minted(nbf=True),
    "iat negative": minted(iat=-1),
    "sub empty": minted(sub=""),
    "sub blank": minted(sub=" "),
    "sub with a line break": minted(sub="ada\n"),
    "sub with NUL": minted(sub="ada\0"),
    "sub half a character": minted(sub="\ud800"),
    "sub endless": minted(sub="x" * 5000),
    "sub missing": minted(sub=None, username="ada"),
    "client missing": minted(client_id=None),
    "a claim twice": with_member('"sub":"eve"'),
    "a claim twice, escaped": with_member('"s\\u0075b":"eve"'),
    "a parameter twice": written(header='{"alg":"none","alg":"RS256","typ":"at+jwt"}'),
    "a byte order mark": lambda issuer: issuer.signer.sign(
        issuer.header(), b"\xef\xbb\xbf" + json.dumps(issuer.claims()).encode()
    ),
    "UTF-16": lambda issuer: issuer.signer.sign(issuer.header(), json.dumps(issuer.claims()).encode("utf-16")),
    "two documents": lambda issuer: issuer.signer.sign(issuer.header(), json.dumps(issuer.claims()) + "{}"),
    "deep": with_member(f'"x":{"[" * 5000}{"]" * 5000}'),
    "a scope in quotes": minted(scope='"stores:read"'),
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
async def test_a_forged_token(
    wire: Wire, forge: Forge, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
):
    wire.token = forge(wire.rig.issuer)
    await wire.check(await wire.post(MODERN), MODERN, BAD_TOKEN)
    captured = capfd.readouterr()
    secret = wire.token.split(".")[1]
    assert not any(secret in text for text in (captured.out, captured.err, caplog.text, await wire.rig.metrics()))


LEGAL: dict[str, Forge] = {
    "parameters that are not used": minted(header={"zip": "DEF", "cty": "JWT", "x5c": ["MII"], "jwk": {"kty": "RSA"}}),
    "addresses of keys": minted(header={"jku": "https://evil.example/jwks", "x5u": "https://evil.example/cert"}),
    "a nonce": minted(header={"typ": "JWT"}, nonce="n"),
    "times with fractions": minted(exp=2_000_000_000.5),
    "no iat": minted(header={"typ": "JWT"}, iat=None),
    "half a character that is not read": with_member('"x":"\\ud800"'),
    "numbers that are not read": with_member(f'"x":[1e400,{"9" * 5000}]'),
    "a claim in other letters": with_member('"SUB":"eve"'),
}


@pytest.mark.parametrize("mint", LEGAL.values(), ids=LEGAL)
async def test_a_token_as_an_issuer_may_write_it(wire: Wire, mint: Forge):
    wire.token = mint(wire.rig.issuer)
    await wire.check(await wire.post(MODERN), MODERN, FORWARDED)


def twice(first: str, second: str) -> Changes:
    return {"Authorization": [first, second]}


# `{}` is a good token.
CARRIED: dict[str, tuple[Changes, Outcome]] = {
    "no header": ({"Authorization": []}, NO_TOKEN),
    "an empty one": ({"Authorization": ""}, NO_TOKEN),
    "no token": ({"Authorization": "Bearer"}, NO_TOKEN),
    "a blank token": ({"Authorization": "Bearer  "}, NO_TOKEN),
    "another scheme": ({"Authorization": "Basic {}"}, NO_TOKEN),
    "a scheme that begins so": ({"Authorization": "BearerToken {}"}, NO_TOKEN),
    "no scheme": ({"Authorization": "{}"}, NO_TOKEN),
    "no blank": ({"Authorization": "Bearer{}"}, NO_TOKEN),
    "a tab": ({"Authorization": "Bearer\t{}"}, NO_TOKEN),
    "a colon": ({"Authorization": "Bearer: {}"}, NO_TOKEN),
    "in quotes": ({"Authorization": 'Bearer "{}"'}, BAD_TOKEN),
    "two tokens": ({"Authorization": "Bearer {} {}"}, BAD_TOKEN),
    "a list": ({"Authorization": "Bearer {}, Bearer {}"}, BAD_TOKEN),
    "a parameter": ({"Authorization": "Bearer token={}"}, BAD_TOKEN),
    "bytes of no ASCII": ({"Authorization": "Bearer {}\xff"}, BAD_TOKEN),
    "two headers alike": (twice("Bearer {}", "Bearer {}"), BAD_TOKEN),
    "two headers, the good one first": (twice("Bearer {}", "Bearer x"), BAD_TOKEN),
    "two headers, the good one last": (twice("Basic x", "Bearer {}"), BAD_TOKEN),
    "two headers, one in small letters": ({"Authorization": "Bearer {}", "authorization": "Bearer {}"}, BAD_TOKEN),
    "a cookie": ({"Authorization": [], "Cookie": "access_token={}; Authorization=Bearer {}"}, NO_TOKEN),
    "a custom header": ({"Authorization": [], "X-Access-Token": "{}", "X-Api-Key": "{}"}, NO_TOKEN),
    "a proxy's": ({"Authorization": [], "Proxy-Authorization": "Bearer {}"}, NO_TOKEN),
    "a proxy's of another name": ({"Authorization": [], "X-Forwarded-Authorization": "Bearer {}"}, NO_TOKEN),
    "an underscore": ({"Authorization": [], "Authorization_": "Bearer {}"}, NO_TOKEN),
    "in small letters": ({"Authorization": [], "authorization": "bearer {}"}, FORWARDED),
    "in capitals": ({"Authorization": [], "AUTHORIZATION": "BEARER {}"}, FORWARDED),
    "after two blanks": ({"Authorization": "Bearer  {}"}, FORWARDED),  # RFC 6750 section 2.1: 1*SP
    "between blanks": ({"Authorization": "  Bearer {} \t"}, FORWARDED),
}


@pytest.mark.parametrize("revision", [MODERN, LEGACY])
@pytest.mark.parametrize(("carried", "outcome"), CARRIED.values(), ids=CARRIED)
async def test_a_good_token_in_the_right_place_alone(wire: Wire, carried: Changes, outcome: Outcome, revision: str):
    changes = {
        name: value.replace("{}", wire.token)
        if isinstance(value, str)
        else [one.replace("{}", wire.token) for one in value]
        for name, value in carried.items()
    }
    answer = await wire.post(revision, GOOD, changes)
    await wire.check(answer, revision, outcome)
    if outcome is NO_TOKEN:  # RFC 6750 section 3.1: no error code where no credentials came
        assert b"error=" not in answer


async def test_a_token_in_the_query(wire: Wire):
    first = f"POST /mcp?access_token={wire.token}&bearer={wire.token} HTTP/1.1"
    await wire.check(await wire.send(wire.request(MODERN, GOOD, {"Authorization": []}, first=first)), MODERN, NO_TOKEN)


async def test_a_token_in_the_body(wire: Wire):
    message = Message(more=f',"access_token":"{wire.token}"')
    await wire.check(await wire.post(MODERN, message, {"Authorization": []}), MODERN, NO_TOKEN)


async def test_a_token_in_a_form(wire: Wire):
    """RFC 6750 section 2.2."""
    body = f"access_token={wire.token}".encode()
    changes = {
        "Authorization": [],
        "Content-Type": "application/x-www-form-urlencoded",
        "Content-Length": str(len(body)),
    }
    sent = wire.request(MODERN, GOOD, changes, body=body)
    await wire.check(await wire.send(sent), MODERN, NO_TOKEN)


@pytest.mark.parametrize(("size", "outcome"), [(9_000, BAD_TOKEN), (40_000, HTTP)])
async def test_an_endless_token_is_never_repeated(
    wire: Wire, size: int, outcome: Refused, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
):
    wire.token = f"a.{'canary' * (size // 6)}.b"
    await wire.check(await wire.post(MODERN), MODERN, outcome)
    captured = capfd.readouterr()
    assert "canarycanary" not in captured.out + captured.err + caplog.text


async def test_urls_and_keys_named_by_tokens_are_never_fetched(wire: Wire):
    """Neither an address in a token, nor an unknown key, makes the sidecar fetch anything."""
    for forge in (LEGAL["addresses of keys"], FORGED["its own key"]):
        wire.token = forge(wire.rig.issuer)
        await wire.post(MODERN)
    assert {path.rpartition("/")[2] for path in wire.rig.issuer.requests} <= {"auth", "jwks", "openid-configuration"}
