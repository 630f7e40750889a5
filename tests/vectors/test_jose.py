"""Project Wycheproof's JWS and JWK vectors against what verifies access tokens.

Their payloads are no claims, so a token made of them is refused in any case. Signatures are therefore judged
on their own, as the key set judges them: that is the weaker of the two checks, and it must be right alone.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from sidecar.errors import Refusal
from sidecar.identity.jwt import jwt_claims
from sidecar.identity.jwt.key_set import ASYMMETRIC, KeyTable, signed_text
from tests.support.vectors import wycheproof

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Vector:
    """One vector: a JWS, the keys that may have signed it, and what it is."""

    name: str
    jws: str
    keys: list[Json]
    valid: bool

    @property
    def header(self) -> Json:
        """The decoded header; empty if it cannot be decoded."""
        try:
            found = json.loads(base64.urlsafe_b64decode(self.jws.split(".")[0] + "==="))
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def verifies(self) -> bool:
        """Return if a key of the set made the signature."""
        try:
            table = KeyTable({"keys": self.keys}, ASYMMETRIC)
        except ValueError:  # none of the keys may be used
            return False
        algorithm = self.header.get("alg")
        return (
            isinstance(algorithm, str)
            and table.verifies(signed_text(self.jws), self.header.get("kid"), algorithm) is True
        )


def vectors(name: str) -> Iterator[Vector]:
    for group in wycheproof(name)["testGroups"]:
        key: Json = group["public"] if "public" in group else group["private"]
        for test in group["tests"]:
            yield Vector(
                f"{test['tcId']} {group['comment']}: {test['comment']}",
                test["jws"],
                key.get("keys", [key]),
                test["result"] == "valid",
            )


def refused_on_purpose(vector: Vector) -> str | None:
    """Return the reason that a valid signature does not verify here; None if there is none."""
    own = {key.get("alg") for key in vector.keys}
    if all(key["kty"] == "oct" for key in vector.keys):
        return "with a symmetric key, every verifier can also sign"
    if not own & ASYMMETRIC:
        return "the key's alg is no algorithm of RFC 7518 (ES521), or none that may be configured"
    if vector.header["alg"] not in own:
        return "a key that says its alg serves no other (RFC 7517 section 4.4)"
    return None


FILES = ["json_web_signature_test.json", "json_web_key_test.json"]


@pytest.mark.parametrize("name", FILES)
def test_no_invalid_signature_verifies(name: str):
    found = [vector for vector in vectors(name) if not vector.valid]
    assert len(found) > 20
    assert [vector.name for vector in found if vector.verifies] == []


@pytest.mark.parametrize("name", FILES)
def test_every_valid_signature_verifies_or_is_refused_for_a_reason(name: str):
    found = [vector for vector in vectors(name) if vector.valid]
    accepted = [vector for vector in found if refused_on_purpose(vector) is None]
    assert accepted
    assert [vector.name for vector in accepted if not vector.verifies] == []
    assert [vector.name for vector in found if vector not in accepted and vector.verifies] == []


@pytest.mark.parametrize("name", FILES)
def test_no_vector_is_an_access_token(name: str):
    """A signature over a payload that is no claims set gives no caller."""
    for vector in vectors(name):
        with pytest.raises(Refusal, match="token_invalid"):
            jwt_claims.read(vector.jws)


def test_every_supported_algorithm_has_vectors():
    met = {vector.header["alg"] for vector in vectors(FILES[0]) if vector.valid and vector.verifies}
    assert met == {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256"}
