"""Programs are found by their token, or by a name of their certificate."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from sidecar.admin_api.api_problems import ApiProblem
from sidecar.admin_api.programs import Programs, certificate_names
from sidecar.config.settings.admin_api_settings import AdminApiClient, AdminApiSettings, AdminApiToken

ONE, TWO = "1" * 40, "2" * 40
PROGRAMS = Programs(
    AdminApiSettings.model_construct(
        tokens=(
            AdminApiToken.model_construct(name="one", token=SecretStr(ONE), may=("read",)),
            AdminApiToken.model_construct(name="two", token=SecretStr(TWO), may=("credits",)),
        ),
        clients=(AdminApiClient.model_construct(name="billing.internal", may=("read", "credits")),),
    )
)


def certificate(*names: tuple[str, str], common: tuple[str, ...] = ()) -> dict[str, Any]:
    found: dict[str, Any] = {"subject": tuple((("commonName", name),) for name in common)}
    return {**found, "subjectAltName": names} if names else found


def test_a_token_names_its_program():
    program = PROGRAMS.authenticate([f"Bearer {TWO}"], None)
    assert (program.name, program.may, program.author) == ("two", frozenset({"credits"}), "admin:two")
    assert PROGRAMS.authenticate([f"bearer  {ONE}"], None).name == "one"


@pytest.mark.parametrize(
    "headers",
    [
        *([""], ["Bearer"], ["Bearer "], [f"Basic {ONE}"], [ONE], [f"Bearer {ONE}x"], [f"Bearer {ONE[:-1]}"]),
        *([f"Bearer {ONE} {ONE}"], [f"Bearer {ONE}", f"Bearer {ONE}"], [f"Bearer\t{ONE}"], ["Bearer \udcff"]),
    ],
)
def test_another_token_is_refused_also_with_a_certificate(headers: list[str]):
    with pytest.raises(ApiProblem) as refused:
        PROGRAMS.authenticate(headers, certificate(("DNS", "billing.internal")))
    assert refused.value.code.id == "token_invalid"


@pytest.mark.parametrize(
    ("shown", "names"),
    [
        (certificate(("DNS", "a"), ("URI", "spiffe://b"), ("IP Address", "::1")), ["a", "spiffe://b"]),
        (certificate(("DNS", "a"), common=("billing.internal",)), ["a"]),
        (certificate(common=("billing.internal",)), ["billing.internal"]),
        (certificate(common=("billing.internal", "b")), []),
        ({}, []),
    ],
)
def test_alternative_names_replace_the_common_name(shown: dict[str, Any], names: list[str]):
    assert certificate_names(shown) == names


def test_a_certificate_names_its_program():
    assert PROGRAMS.authenticate([], certificate(("DNS", "x"), ("DNS", "billing.internal"))).may == {"read", "credits"}
    with pytest.raises(ApiProblem) as refused:
        PROGRAMS.authenticate([], certificate(("DNS", "x"), common=("billing.internal",)))
    assert refused.value.code.id == "certificate_unknown"


@pytest.mark.parametrize("shown", [None, {}])
def test_without_both_there_is_no_caller(shown: dict[str, Any] | None):
    with pytest.raises(ApiProblem) as refused:
        PROGRAMS.authenticate([], shown)
    assert refused.value.code.id == "token_missing"
