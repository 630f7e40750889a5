"""Committed JSON Schemas: equal to the models, with public names, and named by the first line of shipped files."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from sidecar.cli.schema import schema_text

ROOT = Path(__file__).parents[2]
FILES = {
    "config": [ROOT / "config.yaml", ROOT / "deploy" / "config.yaml"],
    "policy": sorted((ROOT / "policies").glob("*.yaml")),
}
SHIPPED = [(kind, path) for kind, paths in FILES.items() for path in paths]
MODELINE = re.compile(r"# yaml-language-server: \$schema=(\S+)\n")


def committed(kind: str) -> Path:
    return ROOT / "schemas" / f"{kind}.schema.json"


@pytest.mark.parametrize("kind", FILES)
def test_the_committed_schema_equals_the_models(kind: str):
    text = committed(kind).read_text("utf-8")
    assert text == schema_text(kind), f"run: mcp-sidecar schema {kind} > schemas/{kind}.schema.json"


@pytest.mark.parametrize("kind", FILES)
def test_a_schema_has_public_names_only(kind: str):
    schema = json.loads(schema_text(kind))
    names = set(schema["$defs"])
    assert all(re.fullmatch("[a-z_]+", name) for name in names)
    text = json.dumps({**schema, "title": ""})
    assert not re.search(r"Document|Settings", text)
    assert set(re.findall(r'"#/\$defs/([^"]+)"', text)) == names


@pytest.mark.parametrize(("kind", "path"), SHIPPED, ids=lambda part: getattr(part, "name", part))
def test_the_first_line_of_a_shipped_file_leads_to_its_schema(kind: str, path: Path):
    found = MODELINE.match(path.read_text("utf-8"))
    assert found is not None
    assert (path.parent / found[1]).resolve() == committed(kind)


@pytest.mark.parametrize(("kind", "path"), SHIPPED, ids=lambda part: getattr(part, "name", part))
def test_a_shipped_file_is_valid_and_a_misspelt_key_is_not(kind: str, path: Path):
    validator = jsonschema_rs.Draft202012Validator(json.loads(committed(kind).read_text("utf-8")))
    value = yaml.safe_load(path.read_text("utf-8"))
    assert [error.message for error in validator.iter_errors(value)] == []
    assert not validator.is_valid({**value, "polices": "x"})


@pytest.mark.parametrize("kind", FILES)
def test_every_key_has_a_description(kind: str):
    schema = json.loads(schema_text(kind))
    models = [schema, *(each for each in schema["$defs"].values() if "properties" in each)]
    bare = [name for model in models for name, each in model["properties"].items() if not _described(schema, each)]
    assert bare == []


def _described(schema: dict[str, Any], node: dict[str, Any]) -> bool:
    parts = [node, *node.get("anyOf", ())]
    targets = [schema["$defs"][part["$ref"].rpartition("/")[2]] for part in parts if "$ref" in part]
    return any("description" in part for part in [*parts, *targets])
