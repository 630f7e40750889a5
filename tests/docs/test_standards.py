"""docs/standards.md says what becomes of each member: a senseless value is ignored exactly where the page says so."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from sidecar.errors import Refusal
from sidecar.identity.jwt import jwt_claims
from sidecar.identity.jwt.discovery import FetchError, KeySource
from sidecar.identity.jwt.key_set import ASYMMETRIC, KeyTable
from sidecar.identity.opaque import introspected_claims
from tests.identity.support import NOW, Clock, configured
from tests.support.introspection import Introspection
from tests.support.issuer import RESOURCE, Issuer, Signer

PAGE: Final = (Path(__file__).parents[2] / "docs" / "standards.md").read_text("utf-8")
ISSUED: Final = Issuer(clock=Clock())
ENDPOINT: Final = Introspection(clock=Clock())
SENSELESS: Final[Any] = [{"senseless": [1.5, None, "\ud800"]}]


def judge_token(header: dict[str, Any], claims: dict[str, Any]) -> None:
    token = jwt_claims.read(ISSUED.mint(header=header, **claims))
    jwt_claims.check(token, configured(ISSUED), RESOURCE, NOW)
    jwt_claims.caller(token, configured(ISSUED), NOW)


def judge_key(name: str) -> None:
    signer = Signer("ES256") if name in ("crv", "x", "y") else ISSUED.signer
    KeyTable({"keys": [{**signer.jwk, name: SENSELESS}]}, ASYMMETRIC)


def judge_answer(name: str) -> None:
    document = ENDPOINT.answer(**{name: SENSELESS})
    introspected_claims.caller(document, configured(ISSUED), RESOURCE, now=NOW, first_seen=NOW)


def judge_metadata(name: str) -> None:
    source = KeySource(None, ISSUED.url)  # type: ignore[arg-type]
    source._key_location({**ISSUED.document(), name: SENSELESS})


SECTIONS: Final[dict[str, Callable[[str], None]]] = {
    "Header": lambda name: judge_token({name: SENSELESS}, {}),
    "Claims": lambda name: judge_token({"typ": "JWT"}, {name: SENSELESS}),
    "Keys": judge_key,
    "Introspection": judge_answer,
    "Metadata": judge_metadata,
}


def rows() -> Iterator[tuple[str, str, str]]:
    """Every member of the page, with its section and its verdict."""
    section = ""
    for line in PAGE.splitlines():
        if line.startswith("## "):
            section = re.split(r"\W", line.removeprefix("## "))[0]
        elif section and line.startswith("| `"):
            _, members, verdict, *_ = line.split("|")
            yield from ((section, name, verdict.strip()) for name in re.findall(r"`([^`]+)`", members))


@pytest.mark.parametrize(("section", "name", "verdict"), list(rows()))
def test_a_member_is_ignored_exactly_where_the_page_says_so(section: str, name: str, verdict: str):
    assert verdict in ("checked", "read", "refused", "ignored")
    try:
        SECTIONS[section](name)
    except (Refusal, FetchError, ValueError):
        assert verdict != "ignored"
    else:
        assert verdict == "ignored"


def test_the_page_lists_the_members_of_all_standards():
    assert {section for section, _, _ in rows()} == set(SECTIONS)
    assert len(list(rows())) > 80
