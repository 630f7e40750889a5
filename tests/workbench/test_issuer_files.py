"""Files of issuers are read with the config, and their problems are reported at their keys."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sidecar.config.documents.merging import DocumentError
from sidecar.workbench.loading import load
from tests.cli.support import CONFIG, write
from tests.support.certificates import Authority
from tests.support.issuer import Issuer

KEYS = "a JWK set (RFC 7517) with a key for the accepted algorithms"


def problems(folder: Path, issuer: str, *, serving: bool = True) -> list[str]:
    text = CONFIG.replace('{issuer: "https://example.com/api/auth"}', f'{{issuer: "https://i.example", {issuer}}}')
    config = write(folder, config=text)
    try:
        load(config, {}, serving=serving)
    except DocumentError as error:
        return [str(each).removeprefix(f"{config.parent}/config.yaml:") for each in error.problems]
    return []


def test_good_files_are_relative_to_the_config(tmp_path: Path):
    Authority(tmp_path)
    (tmp_path / "keys.json").write_text(json.dumps(Issuer().jwks))
    assert problems(tmp_path, "jwks: {file: keys.json}, tls: {ca: authority.pem}") == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read (No such file or directory)"),
        ("{", "is not JSON"),
        ("{}", "not a JWK set"),
        ('{"keys": []}', "no usable key in the JWK set"),
    ],
)
def test_a_key_set_that_cannot_be_used(tmp_path: Path, content: str | None, reason: str):
    if content is not None:
        (tmp_path / "keys.json").write_text(content)
    (found,) = problems(tmp_path, "jwks: {file: keys.json}")
    assert found == f"3:54: issuers[0].jwks.file: {reason}; accepted: {KEYS}; found: 'keys.json'"
    assert problems(tmp_path, "jwks: {file: keys.json}", serving=False) == []


def test_authorities_that_cannot_be_used(tmp_path: Path):
    (tmp_path / "ca.pem").write_text("nothing")
    (found,) = problems(tmp_path, "tls: {ca: ca.pem}")
    assert found.startswith("3:51: issuers[0].tls.ca: no certificate can be read from it")
