from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.identity.jwt.key_set import (
    ASYMMETRIC,
    MAX_KEYS,
    MAX_LISTED,
    MAX_TRIED,
    KeyTable,
    decoded,
    signed_text,
)
from tests.support.issuer import Issuer, Signer, encode

RS256 = Signer("RS256", "rsa")
ES256 = Signer("ES256", "ec")
ISSUED = Issuer(RS256)
FOREIGN = ("", "=", "==", "A", "+", "/", ".", "\n", "\x00", "é")


def table(*keys: Any, algorithms: Any = ASYMMETRIC) -> KeyTable:
    return KeyTable({"keys": list(keys)}, algorithms)


def verdict(keys: KeyTable, signer: Signer, header: dict[str, Any] | None = None) -> bool | None:
    token = ISSUED.mint(signer=signer, header=header)
    return keys.verifies(signed_text(token), ISSUED.header(signer, **(header or {})).get("kid"), signer.algorithm)


@pytest.mark.parametrize("algorithm", sorted(ASYMMETRIC))
def test_every_algorithm_that_can_be_configured_verifies(algorithm: str):
    signer, stranger = Signer(algorithm, "k"), Signer(algorithm, "k", number=1)
    assert verdict(table(signer.jwk), signer) is True
    assert verdict(table(signer.jwk), stranger) is False


def test_an_unknown_key_is_neither_right_nor_wrong():
    assert verdict(table(RS256.jwk), ES256) is None


def test_a_known_key_under_another_algorithm_is_wrong():
    forged = Signer("ES256", "rsa")
    assert verdict(table(RS256.jwk), forged) is False
    assert verdict(table(RS256.jwk, ES256.jwk), forged) is False


def test_one_character_more_or_less_is_another_signature():
    keys, token = table(RS256.jwk), ISSUED.mint()
    head, _, signature = token.rpartition(".")
    for changed in (signature[:-4], signature + "AAAA", "", "AAAA", signature[::-1]):
        assert keys.verifies(signed_text(f"{head}.{changed}"), "rsa", "RS256") is False
    assert keys.verifies(signed_text(token), "rsa", "RS256") is True


@given(
    st.binary(max_size=20), st.sampled_from(["", "=", "==", "A", "+", "/", ".", "\n", "\x00", "é"]), st.integers(0, 40)
)
def test_bytes_have_one_spelling(data: bytes, foreign: str, at: int):
    segment = encode(data)
    assert decoded(segment) == data
    other = segment[:at] + foreign + segment[at:]
    read = decoded(other)
    assert read is None or encode(read) == other


@pytest.mark.parametrize("segment", ["Q", "QR", "Qf", "QUJ", "QUI=", "QQ==", "QUJD=", "QQ\n", "Q Q", "____+w", "//8"])
def test_other_spellings_are_not_read(segment: str):
    assert decoded(segment) is None


def test_another_payload_does_not_verify():
    header, _, signature = ISSUED.mint().split(".")
    assert (
        table(RS256.jwk).verifies(signed_text(f"{header}.{encode({'sub': 'eve'})}.{signature}"), "rsa", "RS256")
        is False
    )


@pytest.mark.parametrize("algorithm", ["none", "HS256"])
def test_the_public_key_is_no_shared_secret(algorithm: str):
    token = f"{encode({'alg': algorithm, 'typ': 'at+jwt', 'kid': 'rsa'})}.{encode(ISSUED.claims())}.AAAA"
    assert table(RS256.jwk).verifies(signed_text(token), "rsa", algorithm) is False
    assert (
        table(RS256.jwk, algorithms=["none", "HS256", "RS256"]).verifies(signed_text(token), "rsa", algorithm) is False
    )


def test_es256_signatures_are_raw_and_not_zero():
    header = f"{encode(ISSUED.header(ES256))}.{encode(ISSUED.claims())}"
    for signature in (bytes(64), b"\0" * 63 + b"\1", b"\x30\x06\x02\x01\x00\x02\x01\x00", b"\xff" * 64):
        assert table(ES256.jwk).verifies(signed_text(f"{header}.{encode(signature)}"), "ec", "ES256") is False


# A modulus as the generator of CVE-2017-15361 made them: a power of 65537 modulo a product of small primes.
PRIMES = math.prod(prime for prime in range(3, 168) if all(prime % divisor for divisor in range(2, prime)))
FACTORABLE = (pow(65537, 1000, PRIMES) + PRIMES * ((1 << 1829) + 1)).to_bytes(256)

BAD: list[Any] = [
    None,
    7,
    "text",
    [],
    {},
    {"kty": "RSA"},
    {**RS256.jwk, "alg": "none"},
    {**RS256.jwk, "alg": "HS256"},
    {**RS256.jwk, "alg": "ES256"},
    {**RS256.jwk, "alg": "RSA-OAEP"},
    {**RS256.jwk, "alg": 7},
    {**RS256.jwk, "use": "enc"},
    {**RS256.jwk, "use": None},
    {**RS256.jwk, "key_ops": ["encrypt"]},
    {**RS256.jwk, "key_ops": []},
    {**RS256.jwk, "key_ops": "verify"},
    {**RS256.jwk, "kid": 7},
    {**RS256.jwk, "n": ""},
    {**RS256.jwk, "n": 7},
    {**RS256.jwk, "n": "!!"},
    {**RS256.jwk, "n": encode(FACTORABLE)},
    {**RS256.jwk, "e": "AA"},
    {**RS256.jwk, "e": "Ag"},
    {**RS256.jwk, "kty": ["RSA"]},
    {**RS256.jwk, "kty": "oct"},
    RS256.private_jwk,
    Signer("RS256", bits=1024).jwk,
    {**ES256.jwk, "crv": "P-384"},
    {**ES256.jwk, "crv": "secp256k1"},
    {**ES256.jwk, "crv": {"a": 1}},
    {**ES256.jwk, "x": ES256.jwk["y"]},
    ES256.private_jwk,
    {"kty": "oct", "k": encode("secret" * 8), "kid": "rsa", "alg": "HS256"},
    {"kty": "OKP", "crv": "X25519", "x": encode(bytes(32))},
    {"kty": "OKP", "crv": "Ed25519", "x": encode(bytes(31))},
    {"kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA"},
]


@pytest.mark.parametrize("bad", BAD)
def test_an_unusable_key_does_not_affect_the_others(bad: Any):
    with pytest.raises(ValueError, match="no usable key"):
        table(bad)
    good = Signer("EdDSA", "good")
    keys = table(bad, good.jwk)
    assert len(keys) == 1
    assert verdict(keys, good) is True


@pytest.mark.parametrize(
    "document", [None, [], {}, {"keys": {}}, {"keys": None}, {"keys": "x"}, {"keys": []}, [RS256.jwk]]
)
def test_an_invalid_key_set_is_refused_as_a_whole(document: object):
    with pytest.raises(ValueError, match=r"JWK set"):
        KeyTable(document, ASYMMETRIC)


def test_the_config_narrows_what_keys_may_do():
    with pytest.raises(ValueError, match="no usable key"):
        table(RS256.jwk, algorithms=["ES256"])
    assert len(table(RS256.jwk, ES256.jwk, algorithms=["ES256"])) == 1


def test_a_key_without_alg_use_and_key_ops_serves_its_type():
    bare = {name: RS256.jwk[name] for name in ("kty", "n", "e", "kid")}
    keys = table(bare)
    for algorithm in ("RS256", "RS512", "PS384"):
        assert verdict(keys, Signer(algorithm, "rsa")) is True
    assert verdict(table(RS256.jwk), Signer("RS512", "rsa")) is False
    assert len(keys) == 1


def test_key_ops_may_say_verify():
    assert verdict(table({**RS256.jwk, "key_ops": ["verify"]}), RS256) is True


def test_keys_of_one_name_are_all_tried():
    old = Signer("RS256", "rsa", number=1)
    keys = table(old.jwk, RS256.jwk)
    assert verdict(keys, RS256) is True
    assert verdict(keys, old) is True
    assert verdict(keys, Signer("RS256", "rsa", number=2)) is False


def test_a_token_without_kid_is_tried_with_few_keys():
    nameless = {k: v for k, v in RS256.jwk.items() if k != "kid"}
    for keys in (table(nameless), table(RS256.jwk), table(ES256.jwk, RS256.jwk)):
        assert verdict(keys, RS256, {"kid": None}) is True
        assert verdict(keys, Signer("RS256", number=1), {"kid": None}) is None
    many = table(*[{**RS256.jwk, "kid": f"k{number}"} for number in range(MAX_TRIED + 1)])
    assert verdict(many, RS256, {"kid": None}) is False


def test_a_key_without_kid_may_have_made_any_signature():
    """RFC 7517 section 4.5: a published key need not have a `kid`, whatever the token's is."""
    nameless = {k: v for k, v in RS256.jwk.items() if k != "kid"}
    keys = table(nameless, ES256.jwk)
    assert verdict(keys, RS256) is True
    assert verdict(keys, Signer("RS256", "rsa", number=1)) is None  # a newer set may have it
    assert verdict(keys, Signer("RS256", "ec")) is False  # that name is another key's


@pytest.mark.parametrize("kid", ["", "k" * 5000, "a b", "Ünï/co\u0301de", "\ud800", "\0"])
def test_a_kid_is_any_text(kid: str):
    assert verdict(table({**RS256.jwk, "kid": kid}), RS256, {"kid": kid}) is True


@pytest.mark.parametrize("published", ["EdDSA", "Ed25519", None])
@pytest.mark.parametrize("used", ["EdDSA", "Ed25519"])
def test_ed25519_has_two_names(published: str | None, used: str):
    jwk = {**Signer("EdDSA", "ed").jwk, "alg": published}
    assert verdict(table({name: value for name, value in jwk.items() if value}), Signer(used, "ed")) is True


def test_a_failed_verification_has_a_true_cause():
    keys = table(*[{**RS256.jwk, "kid": f"k{number}"} for number in range(MAX_TRIED + 1)], ES256.jwk)
    assert keys.fault(None, "RS256") == "it has no kid, and its issuer has more than 4 keys for its algorithm"
    assert keys.fault("k1", "ES256") == "its kid names a key for another algorithm"
    assert keys.fault("k1", "RS256") == "its signature does not verify"


def test_keys_for_other_uses_do_not_crowd_out_the_others():
    others = [{**RS256.jwk, "use": "enc"}, {"kty": "oct", "k": "AAAA"}, {"kty": "AKP"}, "text"] * MAX_KEYS
    assert verdict(table(*others, RS256.jwk), RS256) is True


def test_an_endless_key_set_is_not_searched_to_its_end():
    assert verdict(table(ES256.jwk, *[{}] * MAX_LISTED, RS256.jwk), RS256) is None


def test_a_long_key_set_is_truncated():
    keys = table(*[{**RS256.jwk, "kid": f"k{number}"} for number in range(MAX_KEYS)], ES256.jwk)
    assert len(keys) == MAX_KEYS
    assert verdict(keys, ES256) is None
