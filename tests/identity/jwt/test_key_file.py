"""Key sets in files: read in a thread, again after a change, and never a reason to block."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from sidecar.identity.authenticator import Authenticator
from sidecar.identity.issuers import IssuerRegistry
from sidecar.identity.jwt import key_file
from sidecar.identity.jwt.discovery import MAX_DOCUMENT, FetchError
from sidecar.identity.jwt.key_file import KeyFileSource
from tests.identity.support import Clock, configured, enter
from tests.support.certificates import replace
from tests.support.issuer import RESOURCE, Issuer


async def test_an_unchanged_file_is_not_parsed_again(tmp_path: Path):
    file = tmp_path / "keys.json"
    file.write_text('{"keys": []}')
    source = KeyFileSource(file)
    first = await source.fetch()
    assert first == {"keys": []}
    assert await source.fetch() is first
    replace(file, b'{"keys": [1]}')
    assert await source.fetch() == {"keys": [1]}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read (No such file or directory)"),
        (b"", "is not JSON"),
        (b"SECRET", "is not JSON"),
        (b" " * (MAX_DOCUMENT - 1) + b"{}", f"is larger than {MAX_DOCUMENT} bytes"),
    ],
)
async def test_an_unusable_file_is_described_without_its_content(tmp_path: Path, content: bytes | None, reason: str):
    file = tmp_path / "keys.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(FetchError) as info:
        await KeyFileSource(file).fetch()
    assert str(info.value) == f"{file}: {reason}"


async def test_a_folder_or_a_pipe_does_not_block(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(FetchError, match="is not a regular file"):
            await KeyFileSource(path).fetch()


async def test_new_keys_are_used_seconds_after_the_file_changes(
    issuer: Issuer, ring: IssuerRegistry, clock: Clock, tmp_path: Path
):
    file = tmp_path / "keys.json"
    file.write_text(json.dumps(issuer.jwks))
    given = configured(issuer, jwks={"file": file})
    gate = Authenticator(RESOURCE, [given], ring, clock=clock)
    assert (await enter(gate, issuer.mint())).subject == "ada"
    issuer.rotate(drop=True)
    replace(file, json.dumps(issuer.jwks).encode())
    clock.now += key_file.CHECK_EVERY
    assert (await enter(gate, issuer.mint())).subject == "ada"
    file.unlink()
    clock.now += key_file.CHECK_EVERY
    await ring.of(given).refresh()
    assert ring.health(given).problem == f"{file}: cannot be read (No such file or directory)"
    assert (await enter(gate, issuer.mint())).subject == "ada"
    assert issuer.requests == []
