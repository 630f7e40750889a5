"""Tokens, key sets and answers about tokens that cost more than their bytes: an unsigned token needs no one's leave."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from typing import Any

import pytest

from sidecar.errors import Refusal
from sidecar.identity import claims, issuer_json
from sidecar.identity.jwt import jwt_claims
from sidecar.identity.jwt.key_set import KeyTable
from sidecar.identity.opaque import introspected_claims
from tests.hostile.bodies import UNSORTED, filled, keyed, listed, long_key
from tests.hostile.work import assert_linear
from tests.identity.support import NOW, Clock, configured
from tests.support.issuer import RESOURCE, Issuer

ISSUED = Issuer(clock=Clock())
SETTINGS = configured(ISSUED)
ROOM = 5_000
"""Bytes of a header or of claims: a token has 16 KiB at most."""
DOCUMENT = 400_000


def part(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def unsigned(header: str = '{"alg":"RS256"}', payload: str = '{"iss":"x"}') -> str:
    return f"{part(header)}.{part(payload)}.c2ln"


def read(token: str) -> None:
    with suppress(Refusal):
        taken = jwt_claims.read(claims.bearer([f"Bearer {token}"]))
        jwt_claims.check(taken, SETTINGS, RESOURCE, NOW)
        jwt_claims.caller(taken, SETTINGS, NOW)


def good(**members: object) -> str:
    """A token that is read to the end of gate 2, but for its signature."""
    return ISSUED.signer.sign(ISSUED.header(), {**ISSUED.claims(), **members})


def good_header(**parameters: Any) -> str:
    return ISSUED.signer.sign(ISSUED.header(**parameters), ISSUED.claims())


BENIGN = good(rates=[1.5] * (ROOM // 4))

TOKENS = {
    "unsorted marks in the header": unsigned(header=f'{{"alg":"RS256","{UNSORTED * (ROOM // 4)}":0}}'),
    "unsorted marks in the claims": unsigned(payload=f'{{"iss":"x","{UNSORTED * (ROOM // 4)}":0}}'),
    "escaped marks": unsigned(payload='{"' + "\\u0301\\u0323" * (ROOM // 12) + '":0}'),
    "as many marks as are accepted": unsigned(payload=keyed(long_key("a" + UNSORTED * 15), size=ROOM)),
    "characters that stand for eighteen": unsigned(payload=keyed(long_key("\ufdfa"), size=ROOM)),
    "nested claims": unsigned(payload="[" * ROOM),
    "nested objects": unsigned(payload='{"a":' * (ROOM // 5)),
    "small objects": unsigned(payload=f'{{"iss":"x","a":{listed("{}", ROOM)}}}'),
    "odd numbers": unsigned(payload=f'{{"iss":"x","a":{listed("1e1", ROOM)}}}'),
    "a number": unsigned(payload='{"iat":' + "9" * ROOM + "}"),
    "a fraction": unsigned(payload='{"iat":0.' + "9" * ROOM + "e-300}"),
    "a kid": good_header(kid="k" * ROOM),
    "a certificate": good_header(x5c=["M" * ROOM]),
    "a key id of marks": good_header(kid=UNSORTED * (ROOM // 12)),
    "kinds": good(token_use="x" * ROOM),
    "a binding": good(cnf={f"k{number}": 0 for number in range(ROOM // 12)}),
    "audiences": good(aud=["a"] * (ROOM // 4)),
    "scopes": good(scope="a " * (ROOM // 2)),
    "scopes in a list": good(scope=["a"] * (ROOM // 4)),
    "a subject": good(sub="a" * ROOM),
    "a subject of marks": good(sub=UNSORTED * (ROOM // 12)),
    "a typ": unsigned(header=json.dumps({"alg": "RS256", "typ": "x" * ROOM})),
    "dots": "." * 100_000,
    "blanks": " " * 100_000 + "a",
    "no token": "a" * 100_000,
}


@pytest.mark.parametrize("token", TOKENS.values(), ids=TOKENS)
def test_a_token_costs_what_its_bytes_cost(token: str):
    assert_linear(lambda: read(token), lambda: read(BENIGN))


INTROSPECTED = {
    "unsorted marks": f'{{"active":true,"{UNSORTED * 15_000}":0}}',
    "nesting": '{"active":true,"a":' + "[" * 60_000,
    "small objects": f'{{"active":true,"a":{listed("{}", 60_000)}}}',
    "keys": keyed("K{}".format, size=60_000)[:-1] + ',"active":true}',
}


@pytest.mark.parametrize("body", INTROSPECTED.values(), ids=INTROSPECTED)
def test_an_introspection_answer_costs_what_its_bytes_cost(body: str):
    benign = f'{{"active":true,"groups":[{filled(chr(123) + chr(34) + "a" + chr(34) + ":0}", 60_000)}]}}'.encode()

    def answered(data: bytes) -> None:
        with suppress(ValueError, Refusal):
            document = introspected_claims.read(data)
            introspected_claims.caller(document, SETTINGS, RESOURCE, now=NOW, first_seen=int(NOW))

    assert_linear(lambda: answered(body.encode()), lambda: answered(benign))


RSA = {"kty": "RSA", "use": "sig", "alg": "RS256", "e": "AQAB"}
KEY_SETS = {
    "a modulus of a million bits": {"keys": [{**RSA, "n": "9" * (DOCUMENT // 2)}]},
    "many such keys": {"keys": [{**RSA, "n": "9" * (DOCUMENT // 64)}] * 60},
    "an exponent as long": {"keys": [{**RSA, "n": "9" * 400, "e": "9" * (DOCUMENT // 2)}]},
    "many operations": {"keys": [{**RSA, "n": "9" * 400, "key_ops": ["verify"] * (DOCUMENT // 9)}]},
    "a long kid": {"keys": [{**RSA, "n": "9" * 400, "kid": UNSORTED * (DOCUMENT // 24)}]},
    "numbers": {"keys": [{**RSA, "n": "9" * 400}], "pad": [10**300] * (DOCUMENT // 302)},
    "many keys that are none": {"keys": [{}] * (DOCUMENT // 3)},
    "a coordinate as long": {"keys": [{"kty": "EC", "crv": "P-256", "x": "9" * (DOCUMENT // 2), "y": "9" * 43}]},
}


@pytest.mark.parametrize("document", KEY_SETS.values(), ids=KEY_SETS)
def test_a_key_set_costs_what_its_bytes_cost(document: object):
    benign = {"keys": ISSUED.jwks["keys"] * 60, "padding": ["a" * 20] * (DOCUMENT // 24)}

    def judged(found: object) -> None:
        body = json.dumps(found).encode()
        with suppress(ValueError):
            KeyTable(issuer_json.parse(body), SETTINGS.algorithms)

    assert_linear(lambda: judged(document), lambda: judged(benign))
