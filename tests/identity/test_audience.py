from __future__ import annotations

from typing import Any

import pytest

from sidecar.errors import ErrorCode
from sidecar.identity.audience import check_audience
from tests.identity.support import configured, refused
from tests.support.issuer import RESOURCE, Issuer

ISSUED = Issuer()
ABSENT = {"client_ids": ["cli-1", "cli-2"], "aud": "absent"}
CONSTANT = {"client_ids": "cli-1", "aud": ["account", "authenticated"]}


def check(audience: Any, **claims: Any) -> None:
    keys = {} if audience is None else {"audience": audience}
    given = {"client_id": "cli-1", **claims}
    check_audience(
        {name: value for name, value in given.items() if value is not ...}, configured(ISSUED, **keys), RESOURCE
    )


ACCEPTED: list[tuple[Any, dict[str, Any]]] = [
    (None, {"aud": RESOURCE}),
    (None, {"aud": ["https://issuer.example/userinfo", RESOURCE]}),
    ("api", {"aud": "api"}),
    (["api", "old"], {"aud": ["x", "old"]}),
    (ABSENT, {}),
    (ABSENT, {"aud": None}),
    (ABSENT, {"client_id": "cli-2"}),
    (ABSENT, {"client_id": ..., "azp": "cli-2"}),
    (CONSTANT, {"aud": "account"}),
    (CONSTANT, {"aud": ["account"]}),
    (CONSTANT, {"aud": ["authenticated", "account"]}),
]


@pytest.mark.parametrize(("audience", "claims"), ACCEPTED, ids=repr)
def test_accepted_audiences(audience: Any, claims: dict[str, Any]):
    check(audience, **claims)


MISSING, FOREIGN, CLIENT = "aud is missing or malformed", "issued for another resource", "its client is not one of"
REFUSED: list[tuple[Any, dict[str, Any], str, str, str, str]] = [
    (None, {}, MISSING, "aud", "no aud", RESOURCE),
    (None, {"aud": None}, MISSING, "aud", "no aud", RESOURCE),
    (None, {"aud": []}, MISSING, "aud", "[]", RESOURCE),
    (None, {"aud": [RESOURCE, 7]}, MISSING, "aud", f'["{RESOURCE}", 7]', RESOURCE),
    (None, {"aud": "cli-1"}, FOREIGN, "aud", "cli-1", RESOURCE),
    (["api", "old"], {"aud": RESOURCE}, FOREIGN, "aud", RESOURCE, "api old"),
    (["api", "old"], {}, MISSING, "aud", "no aud", "api old"),
    # Tokens that are bound to nothing: only of these clients, and only with this very `aud`.
    (ABSENT, {"client_id": "cli-3"}, CLIENT, "client_id", "cli-3", "cli-1 cli-2"),
    (ABSENT, {"client_id": "CLI-1"}, CLIENT, "client_id", "CLI-1", "cli-1 cli-2"),
    (ABSENT, {"client_id": ...}, CLIENT, "client_id", "no client id", "cli-1 cli-2"),
    (ABSENT, {"client_id": ["cli-1"]}, CLIENT, "client_id", '["cli-1"]', "cli-1 cli-2"),
    (ABSENT, {"client_id": "cli-3", "azp": "cli-1"}, CLIENT, "client_id", "cli-3", "cli-1 cli-2"),
    (ABSENT, {"client_id": "cli-3", "aud": RESOURCE}, CLIENT, "client_id", "cli-3", "cli-1 cli-2"),
    (ABSENT, {"aud": "cli-1"}, FOREIGN, "aud", "cli-1", "no aud"),  # an ID token
    (ABSENT, {"aud": RESOURCE}, FOREIGN, "aud", RESOURCE, "no aud"),
    (ABSENT, {"aud": []}, FOREIGN, "aud", "[]", "no aud"),
    (ABSENT, {"aud": ""}, FOREIGN, "aud", "", "no aud"),
    (ABSENT, {"aud": "absent"}, FOREIGN, "aud", "absent", "no aud"),
    (CONSTANT, {"aud": "cli-1"}, FOREIGN, "aud", "cli-1", "account authenticated"),
    (CONSTANT, {"aud": ["account", "other"]}, FOREIGN, "aud", '["account", "other"]', "account authenticated"),
    (CONSTANT, {"aud": RESOURCE}, FOREIGN, "aud", RESOURCE, "account authenticated"),
    (CONSTANT, {}, MISSING, "aud", "no aud", "account authenticated"),
    (CONSTANT, {"aud": []}, MISSING, "aud", "[]", "account authenticated"),
    (CONSTANT, {"aud": ["account", None]}, MISSING, "aud", '["account", null]', "account authenticated"),
    (CONSTANT, {"aud": "account", "client_id": "cli-2"}, CLIENT, "client_id", "cli-2", "cli-1"),
]


@pytest.mark.parametrize(("audience", "claims", "sentence", "failed", "found", "accepted"), REFUSED, ids=repr)
def test_refused_audiences_and_their_values(
    audience: Any, claims: dict[str, Any], sentence: str, failed: str, found: str, accepted: str
):
    with refused(ErrorCode.TOKEN_INVALID, sentence) as info:
        check(audience, **claims)
    assert info.value.specifics == {"check": failed, "found": found, "accepted": accepted}


def test_the_client_is_that_of_the_configured_claim():
    settings = configured(ISSUED, audience=ABSENT, claims={"client_id": "cid"})
    check_audience({"cid": "cli-1", "client_id": "other"}, settings, RESOURCE)
    with refused(ErrorCode.TOKEN_INVALID, CLIENT):
        check_audience({"cid": "other", "client_id": "cli-1"}, settings, RESOURCE)
