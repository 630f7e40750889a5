"""Every named provider has a page with what to set, a config that loads, a first token and the errors without it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from sidecar.cli import main
from sidecar.config.documents.merging import Document
from sidecar.config.files import load_settings
from sidecar.errors import ErrorCode
from sidecar.workbench.known_issuers import doubtful_issuers
from sidecar.workbench.loading import load
from tests.providers.shapes import PAGES, RESOURCE, ROOT, Shape, shapes

NAMED: Final = {
    *("keycloak", "entra", "auth0", "okta", "cognito", "google", "workos", "clerk", "better-auth", "oidc-provider"),
    *("zitadel", "authentik", "supabase", "sap"),
}
ALL: Final = tuple(shapes())
INDEX: Final = ROOT / "docs" / "identity-providers.md"
ENTRA_TENANTS: Final = "https://login.microsoftonline.com/{tenantid}/v2.0"
MAX_LINES: Final = 8
"""Lines of a config."""
MAX_WORDS: Final = 320
"""Words of a page, tables and code included."""

REST: Final = f"resource: {RESOURCE}\nbackend: {{url: http://127.0.0.1:8000/mcp}}\n"
"""Sections of a config other than its issuers."""
POLICY: Final = """
consent: first_use
scopes: {usage:read: Usage., stores:read: Stores.}
tools: {list_taxonomy: {scopes: [stores:read]}, get_usage: {scopes: [usage:read]}}
"""

each_shape = pytest.mark.parametrize("shape", ALL, ids=lambda shape: shape.name)


def secrets(shape: Shape) -> dict[str, str]:
    """Values of the variables that a config refers to."""
    return dict.fromkeys(re.findall(r"\$\{([A-Z_]+)\}", shape.block), "a secret")


def test_every_named_provider_has_a_page_and_a_fixture():
    assert {path.stem for path in PAGES.glob("*.md")} == NAMED
    assert {shape.page.stem for shape in ALL} == NAMED
    assert all(f"(providers/{name}.md)" in INDEX.read_text("utf-8") for name in NAMED)


@each_shape
def test_the_config_of_a_page_loads_and_is_short(shape: Shape, tmp_path: Path):
    config = tmp_path / "config.yaml"
    config.write_text(f"{REST}{shape.block}")
    settings = load_settings(config, secrets(shape))
    assert len(shape.block.splitlines()) <= MAX_LINES
    assert shape.is_own == (settings.issuers[0].issuer in (shape.fixture["issuer"], ENTRA_TENANTS))


@each_shape
def test_a_page_says_what_check_warns_of(shape: Shape, tmp_path: Path):
    (tmp_path / "policy.yaml").write_text(POLICY)
    (tmp_path / "config.yaml").write_text(f"{REST}policies: policy.yaml\n{shape.block}")
    loaded = load(tmp_path / "config.yaml", secrets(shape), serving=False)
    notices = [*doubtful_issuers(loaded.settings, Document("config.yaml", {})), *loaded.notices]
    assert bool(notices) == ("`mcp-sidecar check` warns" in shape.text), notices


@pytest.mark.parametrize("shape", [each for each in ALL if each.is_own and each.is_jwt], ids=lambda shape: shape.name)
def test_explain_allows_a_call_with_the_first_token(shape: Shape, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "policy.yaml").write_text(POLICY)
    (tmp_path / "config.yaml").write_text(f"{REST}policies: policy.yaml\n{shape.block}")
    (tmp_path / "token.txt").write_text(shape.access())
    files = ["--config", str(tmp_path / "config.yaml"), "--token-file", str(tmp_path / "token.txt")]
    assert main(["explain", "--tool", "list_taxonomy", "--offline", *files]) == 0
    assert "=> allow" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["better-auth", "oidc-provider"])
def test_the_config_of_an_example_loads(name: str, tmp_path: Path):
    [block] = re.findall(r"```yaml\n(.*?)```", (ROOT / "examples" / name / "README.md").read_text("utf-8"), re.S)
    (tmp_path / "config.yaml").write_text(block)
    load_settings(tmp_path / "config.yaml", {"TOKEN": "0" * 64})


@each_shape
def test_a_page_is_short_and_shows_a_first_token_and_errors(shape: Shape):
    assert len(shape.text.split()) <= MAX_WORDS
    assert "mcp-sidecar explain" in shape.text
    assert "| Without | You see |" in shape.text
    assert shape.text.startswith("# ")


@pytest.mark.parametrize("page", sorted(PAGES.glob("*.md")), ids=lambda page: page.stem)
def test_sentences_and_codes_that_a_page_quotes_exist(page: Path):
    written = "".join(path.read_text("utf-8") for path in (ROOT / "sidecar" / "identity").rglob("*.py"))
    said = re.sub(r'"\s*\n\s*f?"', "", written)  # a text may go on in the next line
    rows = re.findall(r"^\| .* \| (.*) \|$", page.read_text("utf-8").partition("| Without |")[2], re.M)
    ours = [quoted for row in rows if " from " not in row for quoted in re.findall(r"`([^`]+)`", row)]
    sentences = [quoted for quoted in ours if " " in quoted]
    assert [each for each in sentences if each not in said] == []
    codes = {quoted for quoted in ours if re.fullmatch(r"[a-z]+_[a-z_]+", quoted)}
    assert codes <= {code.id for code in ErrorCode} | {"client_ids", "invalid_scope"}
    assert sentences or codes


@each_shape
def test_a_fixture_names_its_sources(shape: Shape):
    assert all(
        re.search(r"https://|^@?[\w/-]+ [\d.]+,|: no page |tokens: ", source) for source in shape.fixture["sources"]
    )
    assert any("https://" in source for source in shape.fixture["sources"])
