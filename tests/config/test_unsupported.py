"""Unsupported values are problems with a place, and the JSON Schema does not offer them."""

import json
from pathlib import Path

import jsonschema_rs
import pytest
import yaml

from sidecar.config.documents.merging import DocumentError, parse
from sidecar.config.settings.settings import settings_of
from sidecar.config.settings.settings_schema import settings_schema
from sidecar.config.unsupported import enforced_schema, reject_unsupported

MINIMAL = """\
resource: https://mcp.example.com/mcp
listen: {address: "127.0.0.1:8080"}
backend: {url: "http://127.0.0.1:8000/mcp"}
issuers: [{issuer: "https://example.com/api/auth"}]
"""


def problems(text: str) -> list[str]:
    with pytest.raises(DocumentError) as caught:
        settings_of(reject_unsupported(parse("c.yaml", text)), Path("/etc"))
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("workers: 2", "c.yaml:5:10: workers: not enforced by this version; accepted: 1; found: 2"),
        ("workers: 0", "c.yaml:5:10: workers: not enforced by this version; accepted: 1; found: 0"),
        ("workers: two", "c.yaml:5:10: workers: text is given; accepted: an integer; found: 'two'"),
        ("workers: true", "c.yaml:5:10: workers: true or false is given; accepted: an integer; found: true"),
    ],
)
def test_values_that_are_not_enforced(line, problem):
    assert problems(MINIMAL + line) == [problem]


@pytest.mark.parametrize("line", ["workers: 1", "store: {url: embedded}", "store: {url: 'redis://a'}", "store: {}",
                                  "store: {url: 'unix:///a'}", "store: {url: 'redis+cluster://a,b'}",
                                  "limits: {items: 5}", "",
                                  "listen: {address: 'a:1', tls: {cert: a, key: b}}"])  # fmt: skip
def test_supported_values_are_untouched(line):
    document = parse("c.yaml", MINIMAL + line)
    assert reject_unsupported(document) is document


def test_the_document_itself_is_not_changed():
    document = parse("c.yaml", MINIMAL + "workers: 2")
    other = reject_unsupported(document)
    assert document.value["workers"] == 2
    assert "workers" not in other.value


@pytest.mark.parametrize(
    "text", ["listen: 5", "backend: []", "issuers: x", "issuers: [1, null]", "store: x", "limits:"]
)
def test_sections_of_a_wrong_type_are_reported_as_such(text):
    assert reject_unsupported(parse("c.yaml", text)).problems == ()


# --- the schema for editors --------------------------------------------------------------------


@pytest.fixture(scope="module")
def schema():
    return enforced_schema(settings_schema())


def test_the_schema_offers_nothing_that_is_refused(schema):
    text = json.dumps(schema)
    assert '"const": 1' in text  # workers
    assert "shadow" not in text


@pytest.mark.parametrize("line", ["", "workers: 1", "workers: ${WORKERS}", "store: {url: 'redis://a'}",
                                  "store: {url: 'redis+sentinel://a,b/c'}", "store: {url: 'redis+cluster://a,b'}",
                                  "store: {url: embedded, directory: x}", "store: {url: '${STORE}'}"])  # fmt: skip
def test_the_schema_accepts_supported_values(schema, line):
    validator = jsonschema_rs.Draft202012Validator(schema)
    assert [error.message for error in validator.iter_errors(yaml.safe_load(MINIMAL + line))] == []


@pytest.mark.parametrize("line", ["workers: 2", "store: {url: memory}", "store: {url: 'http://a'}"])  # fmt: skip
def test_the_schema_refuses_unsupported_values(schema, line):
    key = line.split(":")[0]
    text = "\n".join([*(each for each in MINIMAL.splitlines() if not each.startswith(key)), line])
    assert not jsonschema_rs.Draft202012Validator(schema).is_valid(yaml.safe_load(text))
