"""`check` and the TLS files: found as serving would find them, told at their keys, read by nobody who needs none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.support import CONFIG, Result, Run, write
from tests.support.certificates import Authority, Pair

LISTEN = 'listen: {{address: "0.0.0.0:8443", tls: {{cert: {cert}, key: {key}}}}}\n'
UNREADABLE = "cannot be read (No such file or directory); accepted: a PEM file that this user can read"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def pair(authority: Authority) -> Pair:
    return authority.issue("server")


def listening(folder: Path, cert: str = "server.pem", key: str = "server.key", more: str = "") -> Path:
    return write(folder, config=CONFIG + LISTEN.format(cert=cert, key=key) + more)


def test_a_good_pair_is_fine(run: Run, tmp_path: Path, pair: Pair):
    result = run("check", "--config", listening(tmp_path))
    assert (result.status, result.err) == (0, "")


def test_files_are_told_at_their_keys(run: Run, tmp_path: Path, authority: Authority, pair: Pair):
    authority.issue("other")
    authority.issue("locked", passphrase="hunter2")
    wrong = {
        ("no.pem", "no.key"): [
            f"47: listen.tls.cert: {UNREADABLE}",
            f"60: listen.tls.key: {UNREADABLE}",
        ],
        ("server.pem", "other.key"): [
            "64: listen.tls.key: it is not the key of the certificate in `cert`; accepted: the key that belongs to it"
        ],
        ("locked.pem", "locked.key"): [
            "64: listen.tls.key: it is encrypted, and there is nobody to ask for the passphrase; "
            "accepted: an unencrypted key"
        ],
        ("server.key", "server.key"): [
            "47: listen.tls.cert: no certificate can be read from it; "
            "accepted: a PEM file of certificates, its own first"
        ],
    }
    for (cert, key), expected in wrong.items():
        result = run("check", "--config", listening(tmp_path, cert, key))
        assert result.status == 1
        place = f"{tmp_path}/config.yaml:5:"
        assert [line.removeprefix(place) for line in result.err.splitlines()] == expected


def test_the_backend_s_files_are_checked_too(run: Run, tmp_path: Path, authority: Authority, pair: Pair):
    def check(**files: str) -> Result:
        backend = {"url": "https://backend/mcp", "tls": {"ca": "authority.pem", **pair.files, **files}}
        lines = [line for line in CONFIG.splitlines() if not line.startswith("backend:")]
        config = "\n".join([f"backend: {json.dumps(backend)}", *lines])
        return run("check", "--config", write(tmp_path, config=config))

    assert check().status == 0
    for files, problem in (
        ({"key": "no.key"}, "backend.tls.key: cannot be read (No such file or directory)"),
        ({"ca": "server.key"}, "backend.tls.ca: no certificate can be read from it"),
    ):
        result = check(**files)
        assert result.status == 1
        assert result.err.startswith(f"{tmp_path}/config.yaml:1:")
        assert problem in result.err
        assert result.err.count("\n") == 1


def test_other_mistakes_do_not_hide_them(run: Run, tmp_path: Path):
    result = run("check", "--config", listening(tmp_path, more="colour: blue\nbackend: {timeout: 5, tls: {ca: x}}\n"))
    told = [line.split(": ")[1] for line in result.err.splitlines()]
    assert {"listen.tls.cert", "listen.tls.key", "colour"} <= set(told)


def test_what_a_file_holds_is_no_path(run: Run, tmp_path: Path, pair: Pair, monkeypatch: pytest.MonkeyPatch):
    """A key put where its path belongs, as environments invite one to do."""
    secret = pair.key.read_text()
    monkeypatch.setenv("TLS_KEY", secret)
    result = run("check", "--config", listening(tmp_path, key='"${TLS_KEY}"'))
    assert result.status == 1
    assert "listen.tls.key: not a path; accepted: a path, relative to the config file" in result.err
    assert not [line for line in secret.splitlines() if line in result.err]


def test_a_certificate_out_of_its_time_is_a_warning(run: Run, tmp_path: Path, authority: Authority):
    authority.issue("server", begins=-9, days=-2)
    result = run("check", "--config", listening(tmp_path))
    assert result.status == 0
    assert result.err.startswith(
        f"warning: {tmp_path}/config.yaml:5: listen.tls.cert: the certificate has expired, on "
    )
    (warning,) = run("check", "--config", listening(tmp_path), "--format", "json").json["warnings"]
    assert warning["rule"] == f"{tmp_path}/config.yaml:5"


def test_nothing_is_served_with_a_broken_pair(run: Run, tmp_path: Path, authority: Authority, pair: Pair):
    authority.issue("other")
    result = run("serve", "--config", listening(tmp_path, key="other.key"))
    assert result.status == 1
    assert "config.yaml:5:64: listen.tls.key: it is not the key of the certificate" in result.err


def test_commands_that_serve_nothing_need_no_key(run: Run, tmp_path: Path, config: Path):
    config.write_text(config.read_text() + LISTEN.format(cert="no.pem", key="no.key"))
    assert run("check", "--config", config).status == 1
    assert run("account", "set", "acme", "--plan", "growth", "--create", "--config", config).status == 0
    assert run("credits", "grant", "acme", "contact", "5", "--config", config).status == 0
    assert run("explain", "--tool", "search", "--config", config).status == 0
