"""Files: what is substituted in the config, which policies are read, and what cannot be read."""

from pathlib import Path

import pytest

from sidecar.config.documents.merging import DocumentError
from sidecar.config.files import (
    configured_policies,
    load_documents,
    load_policies,
    load_settings,
    policy_files,
    read_config,
    substitution,
)
from sidecar.config.settings.settings import Settings, settings_of

CONFIG = """\
resource: ${RESOURCE:-https://mcp.example.com/mcp}
backend:
  url: http://${BACKEND}/mcp
  headers: {X-Api-Key: "${file:key}"}
issuers: [{issuer: "https://example.com/api/auth"}]
workers: ${WORKERS}
"""
ENVIRON = {"BACKEND": "10.0.0.5:8000", "WORKERS": "3"}


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def load(folder: Path, text: str = CONFIG, environ: dict[str, str] | None = None) -> Settings:
    write(folder, config__yaml=text, key="k-123\n")
    return settings_of(read_config(folder / "config.yaml", ENVIRON if environ is None else environ), folder)


def failing(folder: Path, text: str, environ: dict[str, str]) -> list[str]:
    with pytest.raises(DocumentError) as caught:
        load(folder, text, environ)
    return [str(problem).removeprefix(f"{folder}/") for problem in caught.value.problems]


def test_variables_defaults_and_files_are_substituted(tmp_path):
    given = load(tmp_path)
    assert given.resource == "https://mcp.example.com/mcp"
    assert given.backend.url == "http://10.0.0.5:8000/mcp"
    assert given.backend.headers == {"X-Api-Key": "k-123"}
    assert given.workers == 3


def test_the_environment_is_this_process_s_own(tmp_path, monkeypatch):
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    write(tmp_path, config__yaml=CONFIG, key="k")
    assert read_config(tmp_path / "config.yaml").value["workers"] == 3


@pytest.mark.parametrize(
    ("line", "found"),
    [("", "policies"), ("policies: p/", "p"), ("policies: [a, b]", ("a", "b")), ("policies: 1", None), ("[", None)],
)
def test_policies_are_found_in_a_broken_config(tmp_path, line, found):
    write(tmp_path, config__yaml=f"workers: x\nlisten: 5\n{line}\n")
    if line == "[":
        with pytest.raises(DocumentError):
            read_config(tmp_path / "config.yaml")
        return
    names = tuple(tmp_path / each for each in found) if isinstance(found, tuple) else found and tmp_path / found
    assert configured_policies(read_config(tmp_path / "config.yaml"), tmp_path) == names


@pytest.mark.parametrize("secret", ["12345", "true", "null", "0123", "1e5", "~", "[a]", "a: b", "'quoted'", ".inf"])
def test_a_secret_is_text_whatever_it_looks_like(tmp_path, secret):
    given = load(tmp_path, CONFIG.replace("${file:key}", "${SECRET}"), {**ENVIRON, "SECRET": secret})
    assert given.backend.headers == {"X-Api-Key": secret}


@pytest.mark.parametrize(
    ("text", "environ", "result"),
    [
        ("${A}", {"A": "x"}, "x"),
        ("a${A}b${B:-c}", {"A": "x"}, "axbc"),
        ("${A:-b}", {"A": ""}, "b"),
        ("${A}", {"A": ""}, ""),
        ("${A:-}", {}, ""),
        ("${A:-http://b:1/c?d=e}", {}, "http://b:1/c?d=e"),
        ("${A}", {"A": "${B}"}, "${B}"),
        ("$A {A} $$ $", {"A": "x"}, "$A {A} $$ $"),
    ],
)
def test_substitution(tmp_path, text, environ, result):
    assert substitution(environ, tmp_path)(text) == result


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("${NO}", "the environment variable NO is not set"),
        ("${NO}${A}", "the environment variable NO is not set"),
        ("${}", "not a substitution"),
        ("${1A}", "not a substitution"),
        ("${A-b}", "not a substitution"),
        ("${A:b}", "not a substitution"),
        ("x${A", "a ${ that is not closed"),
        ("${file:none}", r"cannot be read \(No such file or directory\)"),
        ("${file:.}", r"cannot be read \(Is a directory\)"),
        ("${file:binary}", "not UTF-8"),
    ],
)
def test_invalid_substitutions_are_refused(tmp_path, text, wrong):
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=wrong.replace("$", r"\$").replace("{", r"\{")) as caught:
        substitution({"A": "hunter2"}, tmp_path)(text)
    assert "hunter2" not in str(caught.value)


def test_only_the_line_end_of_a_file_is_dropped(tmp_path):
    substitute = substitution({}, tmp_path)
    for written, read in (("a\n", "a"), ("a\r\n", "a"), (" a \n\n", " a \n"), ("a", "a")):
        (tmp_path / "f").write_bytes(written.encode())
        assert substitute("${file:f}") == read
        assert substitute(f"${{file:{tmp_path}/f}}") == read


def test_all_that_fails_is_reported_with_its_place_and_without_secrets(tmp_path):
    text = CONFIG.replace("${file:key}", "${file:none}").replace("https://example.com/api/auth", "${SECRET}")
    found = failing(tmp_path, text + "log: ${SECRET}\n", {"SECRET": "hunter2 hunter2", "WORKERS": "hunter2"})
    assert found == [
        "config.yaml:3:8: backend.url: the environment variable BACKEND is not set; "
        "accepted: a value for it, or ${BACKEND:-default}",
        "config.yaml:4:24: backend.headers.X-Api-Key: "
        "the file to substitute cannot be read (No such file or directory); accepted: a file that this user can read",
        "config.yaml:5:20: issuers[0].issuer: not a URL; accepted: an absolute http:// or https:// URL; "
        "found: ${SECRET}",
        "config.yaml:6:10: workers: no number of processes; accepted: auto, or an integer from 1 to 256; "
        "found: ${WORKERS}",
        "config.yaml:7:6: log: text is given; accepted: a mapping; found: ${SECRET}",
    ]


@pytest.mark.parametrize("field", ["resource", "listen", "admin", "workers", "policies", "shutdown_grace", "hosts"])
def test_no_message_holds_a_secret_wherever_it_was_put(tmp_path, field):
    lines = [line for line in CONFIG.splitlines() if not line.startswith(f"{field}:")]
    text = "\n".join([*lines, f"{field}: [1, '${{SECRET}}', {{a: '${{SECRET}}'}}]", f"x: {field}", ""])
    found = failing(tmp_path, text, {**ENVIRON, "SECRET": "hunter2 hunter2"})
    assert len(found) >= 2
    assert "hunter2" not in "\n".join(found)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(DocumentError, match=r"none\.yaml:1:1: cannot be read \(No such file or directory\)"):
        load_settings(tmp_path / "none.yaml", {})
    (tmp_path / "binary.yaml").write_bytes(b"a: 1\nb: \xff\n")
    with pytest.raises(DocumentError, match=r"binary\.yaml:2:4: not UTF-8"):
        load_settings(tmp_path / "binary.yaml", {})


def test_a_byte_order_mark_is_no_key(tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbfa: 1\n")
    (document,) = load_documents([tmp_path / "a.yaml"])
    assert document.value == {"a": 1}


# --- policies ----------------------------------------------------------------------------------


def test_a_folder_is_read_by_name_and_not_below(tmp_path):
    given = load(tmp_path)
    folder = tmp_path / "policies"
    (folder / "below.yaml").mkdir(parents=True)
    (folder / "below.yaml").rmdir()
    (folder / "sub").mkdir()
    write(folder, b__yaml="b: 1", a__yaml="a: ${HOME}", c__yml="c: 1", notes__txt="d: 1")
    write(folder / "sub", e__yaml="e: 1")
    (folder / ".hidden.yaml").write_text("f: 1")
    documents = load_policies(given.policies)
    assert [document.value for document in documents] == [{"a": "${HOME}"}, {"b": 1}]
    assert documents[0].file == f"{folder}/a.yaml"


def test_a_list_of_files_keeps_its_order(tmp_path):
    write(tmp_path, z__yaml="z: 1", y__yaml="y: 1")
    given = load(tmp_path, CONFIG + "policies: [z.yaml, y.yaml]\n")
    assert [list(document.value) for document in load_policies(given.policies)] == [["z"], ["y"]]
    alone = load(tmp_path, CONFIG + "policies: z.yaml\n")
    assert policy_files(alone.policies) == (tmp_path / "z.yaml",)


def test_no_policy_is_a_problem(tmp_path):
    given = load(tmp_path)
    with pytest.raises(DocumentError, match=r"policies:1:1: cannot be read \(No such file or directory\)"):
        load_policies(given.policies)
    (tmp_path / "policies").mkdir()
    with pytest.raises(DocumentError, match=r"policies:1:1: no policy in this folder; accepted: files named \*\.yaml"):
        load_policies(given.policies)


def test_all_problems_of_all_files_are_reported_when_one_cannot_be_read(tmp_path):
    write(tmp_path, a__yaml="a: 1\na: 2", b__yaml="b: [", c__yaml="- 1")
    with pytest.raises(DocumentError) as caught:
        load_documents([tmp_path / "a.yaml", tmp_path / "b.yaml", tmp_path / "c.yaml", tmp_path / "none.yaml"])
    assert [Path(problem.place.file).name for problem in caught.value.problems] == [
        "a.yaml",
        "b.yaml",
        "c.yaml",
        "none.yaml",
    ]
