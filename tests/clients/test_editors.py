"""yaml-language-server with the shipped schemas: completion, hover and diagnostics, led by the first line of a file."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.clients.language_client import Editor, editor

pytestmark = pytest.mark.node

ROOT = Path(__file__).parents[2]
SHIPPED_CONFIG = (ROOT / "config.yaml").read_text("utf-8")
SHIPPED_POLICY = (ROOT / "policies" / "storeinspect.yaml").read_text("utf-8")
POLICY = """\
# yaml-language-server: $schema=../schemas/policy.schema.json
tools:
  search:
    scopes: []
    
consent: required
"""  # noqa: W293 - the blanks are the place of the completion
CONFIG = """\
# yaml-language-server: $schema=schemas/config.schema.json
resource: https://mcp.example.com/mcp
backend:
  url: http://127.0.0.1:8000/mcp
  
issuers: [{issuer: https://example.com}]
"""  # noqa: W293


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[tuple[Editor, Path]]:
    """An editor on a folder with the schemas."""
    shutil.copytree(ROOT / "schemas", tmp_path / "schemas")
    async with editor(tmp_path) as client:
        yield client, tmp_path


async def test_the_shipped_files_have_no_diagnostics_and_a_misspelt_key_has_one(opened: tuple[Editor, Path]):
    client, folder = opened
    assert await client.open(folder / "config.yaml", SHIPPED_CONFIG) == []
    assert await client.open(folder / "policies" / "storeinspect.yaml", SHIPPED_POLICY) == []
    misspelt = POLICY.replace("consent: required", "consnet: required")
    (found,) = await client.open(folder / "policies" / "wrong.yaml", misspelt)
    assert (found["range"]["start"]["line"], "consnet" in found["message"]) == (5, True)


async def test_keys_and_values_of_a_policy_are_completed(opened: tuple[Editor, Path]):
    client, folder = opened
    file = folder / "policies" / "p.yaml"
    await client.open(file, POLICY)
    keys = await client.complete(file, 4, 4)
    assert {"arguments", "confirm", "uses", "spends", "timeout"} <= set(keys)
    assert "JSON Schema 2020-12" in keys["arguments"]
    assert {"required", "first_use"} <= set(await client.complete(file, 5, 9))


async def test_keys_of_a_config_are_completed(opened: tuple[Editor, Path]):
    client, folder = opened
    file = folder / "config.yaml"
    await client.open(file, CONFIG)
    assert {"timeout", "headers", "tls", "events"} <= set(await client.complete(file, 4, 2))


async def test_a_key_is_explained_without_names_of_classes(opened: tuple[Editor, Path]):
    client, folder = opened
    file = folder / "policies" / "p.yaml"
    await client.open(file, POLICY)
    shown = await client.hover(file, 3, 6)
    assert "Scopes that a token needs" in shown
    assert "Document" not in shown
    assert "a consent record must exist" in await client.hover(file, 5, 2)
