"""`try` when it cannot start: it says what to do, and leaves files and folders as they are."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from sidecar.cli import main
from sidecar.cli.try_ import _painted
from sidecar.observe.formats.palette import Palette

EARLIER = """\
resource: http://127.0.0.1:8080/mcp
listen: 127.0.0.1:8080
backend: {url: "http://127.0.0.1:1/mcp"}
issuers: [{issuer: "http://127.0.0.1:9000/api/auth"}]
policies: [policy.yaml]
"""


@pytest.fixture
def dead() -> str:
    return "http://127.0.0.1:1/mcp"  # a reserved port: nothing listens there


@pytest.mark.process
def test_a_server_that_does_not_answer_is_1_and_leaves_no_folder(capsys, monkeypatch, tmp_path: Path, dead: str):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert main(["try", "--backend", dead]) == 1
    assert "is the backend running, and is this its MCP endpoint?" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.process
@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        (("http://127.0.0.1:9000/api/auth", "https://example.com/auth"), 1, "is not of a trial; use another folder"),
        (("http://127.0.0.1:9000/api/auth", "http://127.0.0.1:9000/realm"), 1, "is not of a trial"),
        (("resource: http://127.0.0.1:8080/mcp", "resource: https://mcp.example.com/mcp"), 1, "is not of a trial"),
        (("127.0.0.1:1/mcp", "127.0.0.1:2/mcp"), 1, "is for the backend http://127.0.0.1:2/mcp; use another folder"),
        (("", ""), 2, "uses 8080"),
    ],
)
def test_a_folder_of_another_kind_is_refused_and_not_changed(capsys, tmp_path: Path, dead: str, change, status, said):
    config = tmp_path / "config.yaml"
    config.write_text(EARLIER.replace(*change))
    (tmp_path / "policy.yaml").write_text("empty: true\n")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert main(["try", "--backend", dead, "--directory", str(tmp_path), "--port", "8081"]) == status
    assert said in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.process
def test_an_issuer_port_in_use_is_1(capsys, tmp_path: Path, dead: str):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = tmp_path / "config.yaml"
        config.write_text(EARLIER.replace(":9000/", f":{taken.getsockname()[1]}/"))
        (tmp_path / "policy.yaml").write_text("empty: true\n")
        assert main(["try", "--backend", dead, "--directory", str(tmp_path)]) == 1
    assert "Address already in use; use another --port or folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "painted"),
    [
        ("sidecar  http://x/mcp   in front of", "\x1b[1msidecar\x1b[0m  http://x/mcp   in front of"),
        ("\n# an allowed call\ncurl -# x", "\n\x1b[2m# an allowed call\x1b[0m\ncurl -# x"),
        ("logs", "logs"),
    ],
)
def test_names_and_comments_have_colours_on_a_terminal(line: str, painted: str):
    assert _painted(line, Palette(True)) == painted
    assert _painted(line, Palette(False)) == line


@pytest.mark.parametrize("words", [[], ["--backend", "x", "--port", "x"], ["--backend", "x", "--header", "none"]])
def test_a_wrong_command_line_is_2(capsys, words):
    assert main(["try", *words]) == 2
