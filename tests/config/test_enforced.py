"""What this version does not do is a located error, whatever is said of it, and no editor offers it."""

import json
from pathlib import Path

import jsonschema_rs
import pytest
import yaml

from sidecar.config.documents import DocumentError, parse
from sidecar.config.enforced import enforced_schema, withheld, withheld_policy
from sidecar.config.settings import settings_of
from sidecar.config.settings_schema import settings_schema

MINIMAL = """\
resource: https://mcp.example.com/mcp
listen: {address: "127.0.0.1:8080"}
backend: {url: "http://127.0.0.1:8000/mcp"}
issuers: [{issuer: "https://example.com/api/auth"}]
"""


def problems(text: str) -> list[str]:
    with pytest.raises(DocumentError) as caught:
        settings_of(withheld(parse("c.yaml", text)), Path("/etc"))
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("workers: 2", "c.yaml:5:10: workers: not enforced by this version; accepted: 1"),
        ("workers: 0", "c.yaml:5:10: workers: not enforced by this version; accepted: 1"),
        ("workers: two", "c.yaml:5:10: workers: text is given; accepted: an integer"),
        ("workers: true", "c.yaml:5:10: workers: true or false is given; accepted: an integer"),
    ],
)
def test_values_that_are_not_enforced(line, problem):
    assert problems(MINIMAL + line) == [problem]


@pytest.mark.parametrize("line", ["workers: 1", "store: {url: embedded}", "store: {url: 'redis://a'}", "store: {}",
                                  "store: {url: 'unix:///a'}", "store: {url: 'redis+cluster://a,b'}",
                                  "limits: {items: 5}", "",
                                  "listen: {address: 'a:1', tls: {cert: a, key: b}}"])  # fmt: skip
def test_what_is_enforced_is_untouched(line):
    document = parse("c.yaml", MINIMAL + line)
    assert withheld(document) is document


def test_the_document_itself_is_not_changed():
    document = parse("c.yaml", MINIMAL + "workers: 2")
    other = withheld(document)
    assert document.value["workers"] == 2
    assert "workers" not in other.value


@pytest.mark.parametrize(
    "text", ["listen: 5", "backend: []", "issuers: x", "issuers: [1, null]", "store: x", "limits:"]
)
def test_sections_of_a_wrong_type_are_told_as_such(text):
    assert withheld(parse("c.yaml", text)).problems == ()


# --- policies ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("mode: shadow", ["mode"]),
        ("quotas: {q: {day: 1, mode: shadow}}", ["quotas.q.mode"]),
        ("plans: {p: {mode: shadow}, q: {tools: {mode: shadow}}}", ["plans.p.mode", "plans.q.tools.mode"]),
        ("tools: {t: {mode: shadow, confirm: {mode: shadow}}}", ["tools.t.mode", "tools.t.confirm.mode"]),
        ("tools: {t: {arguments: {mode: shadow}}}", ["tools.t.arguments.mode"]),
        ("tools: {t: {arguments: {properties: {mode: {const: shadow}, x: {default: {mode: shadow}}}}}}", []),
        ("tests: [{call: {arguments: {mode: shadow}}}]", []),
        ("credits: {mode: shadow}\nscopes: {mode: shadow}", []),
    ],
)
def test_shadow_is_an_error_wherever_it_stands(text, paths):
    found = withheld_policy(parse("p.yaml", text)).problems
    assert [(each.path, each.wrong) for each in found] == [(path, "not enforced by this version") for path in paths]


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
def test_the_schema_accepts_what_is_enforced(schema, line):
    validator = jsonschema_rs.Draft202012Validator(schema)
    assert [error.message for error in validator.iter_errors(yaml.safe_load(MINIMAL + line))] == []


@pytest.mark.parametrize("line", ["workers: 2", "store: {url: memory}", "store: {url: 'http://a'}"])  # fmt: skip
def test_the_schema_refuses_what_is_not_enforced(schema, line):
    key = line.split(":")[0]
    text = "\n".join([*(each for each in MINIMAL.splitlines() if not each.startswith(key)), line])
    assert not jsonschema_rs.Draft202012Validator(schema).is_valid(yaml.safe_load(text))
