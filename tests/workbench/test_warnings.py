"""Warnings of `check` about valid files, each with the line of its cause, and none for the sound files."""

import socket
from pathlib import Path

import pytest

from sidecar.config.documents.merging import parse
from sidecar.config.settings.settings import settings_of
from sidecar.policy.language.compile import compile_policy
from sidecar.workbench.linting.config_warnings import config_warnings, unread_files
from sidecar.workbench.linting.policy_warnings import policy_warnings
from tests.workbench.test_mistakes import CONFIG, POLICY

SOUND = POLICY.replace(
    "tests:\n", "tests:\n  - {name: revealing needs its scope, call: {tool: reveal}, expect: insufficient_scope}\n"
)

VARIABLE = "requests: 1, search_rows: {reserve: arguments.limit, settle: length(data.rows)}}"


def warned(*changes: tuple[str, str]) -> list[str]:
    text = SOUND
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    document = parse("p.yaml", text)
    return [str(each) for each in policy_warnings(compile_policy([document]), document)]


def test_a_sound_policy_has_none():
    assert warned() == []


@pytest.mark.parametrize(
    ("old", "new", "warning"),
    [
        ('"docs://*"', '"docs://{id}"', "p.yaml:29: the braces of docs://{id} stand for themselves"),
        ('{"docs://*": {scopes: [stores:read]}}', '{"*": {scopes: []}}', "p.yaml:29: * without scopes opens every"),
        ("minute: 60, day: 5000", "minute: 6000, day: 5000", "p.yaml:6: quota 'requests' allows 6000 per minute and"),
        ("{minute: 10}", "{minute: 9000}", "p.yaml:11: quota 'requests' of plan free allows 9000 per minute and"),
        ("requests: 1,", "requests: 61,", "p.yaml:19: search uses 61 requests per call, and no account may use more"),
        ("{tools: [search],", "{tools: [],  resources: [],", "p.yaml:11: plan free includes nothing"),
        ("{tools: [search],", "{tools: [search], credits: {contact: {month: 1}},", "p.yaml:11: plan free includes con"),
        ("timeout: 30s", "timeout: 30s\n    uses: {}\ndefaults: {uses: {}}", "p.yaml:30: every tool has uses of its"),
        (
            "    uses: {requests: 1, search_rows: {re",
            "    on_unknown: settle\n    uses: {requests: 1, search_rows: {re",
            "",
        ),
        (VARIABLE, "requests: 1}\n    charge_errors: true", "p.yaml:20: search spends nothing that depends"),
        ("required: [ids]", "required: [ids, id]", "p.yaml:24: reveal requires the argument 'id', which it neither"),
        (
            "{type: array}",
            "{type: array, minItems: 5, maxItems: 4}",
            "p.yaml:23: minItems 5 is above maxItems 4, so reveal",
        ),
        (
            "call: {tool: reveal}, expect: insufficient_scope",
            "call: {method: ping}, expect: allow",
            "p.yaml:20: no test calls",
        ),
    ],
)
def test_each_warning_of_a_policy(old: str, new: str, warning: str):
    found = warned((old, new))
    assert len(found) == bool(warning), found
    assert all(each.startswith(warning) for each in found)


CLOSED = ("required: [ids]\n      additionalProperties: false", "required: [ids]")
ASKED = "confirm: {by: person, message: %s}"


@pytest.mark.parametrize(
    ("message", "open_", "warning"),
    [
        ("'Reveal {ids}?'", False, ""),
        (
            "'Reveal?'",
            False,
            "p.yaml:26: a person confirms reveal and sees none of its arguments; show them in the mess",
        ),
        ("'Reveal {ids}?'", True, "p.yaml:25: a person confirms reveal, whose message does not show arguments that"),
    ],
)
def test_a_person_sees_what_is_confirmed(message: str, open_: bool, warning: str):
    found = warned(("confirm: {argument: sure}", ASKED % message), *([CLOSED] if open_ else []))
    assert [each[: len(warning)] for each in found] == ([warning] if warning else [])


def test_a_policy_without_tests_or_plans():
    text = SOUND[: SOUND.index("tests:")].replace("default_plan: free\n", "listing: {missing_plan: show}\n")
    text = text[: text.index("plans:\n")] + text[text.index("tools:\n") :]
    document = parse("p.yaml", text)
    assert [str(each)[:60] for each in policy_warnings(compile_policy([document]), document)] == [
        "p.yaml:9: there are no plans, so missing_plan never applies",
        "p.yaml:11: the policy has no tests; add one for each tool to",
    ]


# --- config ------------------------------------------------------------------------------------


def config_warned(folder: Path, *changes: tuple[str, str]) -> list[str]:
    text = CONFIG.replace("127.0.0.1:8080", "127.0.0.1:0") + "admin: 127.0.0.1:0\n"
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    document = parse("c.yaml", text)
    return [str(each) for each in config_warnings(settings_of(document, folder), document)]


@pytest.mark.process
@pytest.mark.parametrize(
    ("old", "new", "warning"),
    [
        ("url: http://127.0.0.1:8000/mcp", "url: https://mcp.example.com/mcp", "c.yaml:4: the backend is the resource"),
        ("admin: 127.0.0.1:0", "admin: 0.0.0.0:0", "c.yaml:12: admin listens on 0.0.0.0:0, which other machines"),
        ("admin: 127.0.0.1:0", "admin: [127.0.0.1:0, '[::]:0']", "c.yaml:12: admin listens on [::]:0, which other"),
        ("url: embedded", "url: embedded, directory: file/x", "c.yaml:9: store.directory"),
    ],
)
def test_each_warning_of_a_config(tmp_path: Path, old: str, new: str, warning: str):
    (tmp_path / "file").write_text("")
    assert config_warned(tmp_path) == []
    (only,) = config_warned(tmp_path, (old, new))
    assert only.startswith(warning)


@pytest.mark.process
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_backend_that_is_the_sidecar_itself(tmp_path: Path, host: str):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    changes = (("listen: 127.0.0.1:0", f"listen: 0.0.0.0:{port}"), ("127.0.0.1:8000", f"{host}:{port}"))
    assert config_warned(tmp_path, *changes) == [
        f"c.yaml:4: the backend is the sidecar itself, which listens on 0.0.0.0:{port}; "
        "use the address of the MCP server"
    ]


@pytest.mark.process
def test_ports_in_use_are_named_unless_all_are_as_with_a_running_sidecar(tmp_path: Path):
    with socket.socket() as one, socket.socket() as two:
        ports = []
        for each in (one, two):
            each.bind(("127.0.0.1", 0))
            each.listen()
            ports.append(each.getsockname()[1])
        listen = ("listen: 127.0.0.1:0", f"listen: 127.0.0.1:{ports[0]}")
        both = (listen, ("admin: 127.0.0.1:0", f"admin: 127.0.0.1:{ports[1]}"))
        assert config_warned(tmp_path, *both) == []
        two.close()
        (only,) = config_warned(tmp_path, *both)
        assert only == f"c.yaml:2: listen cannot bind 127.0.0.1:{ports[0]} on this machine: Address already in use"


def test_files_that_only_look_like_policies(tmp_path: Path):
    for name in ("a.yaml", "b.yml", "c.YAML", "d.txt"):
        (tmp_path / name).write_text("")
    found = [str(each).removeprefix(f"{tmp_path}/") for each in unread_files(tmp_path)]
    assert [each.partition(": ")[0] for each in found] == ["b.yml:1", "c.YAML:1"]
    assert list(unread_files((tmp_path / "b.yml",))) == []
