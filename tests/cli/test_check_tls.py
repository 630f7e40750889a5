"""`check` reads the TLS files as `serve` does and reports them at their keys; other commands do not read them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.support import CONFIG, Result, Run, write
from tests.support.certificates import Authority, Pair

LISTEN = 'listen: {{address: "0.0.0.0:8443", tls: {{cert: {cert}, key: {key}}}}}\n'
UNREADABLE = "cannot be read (No such file or directory); accepted: a PEM file that this user can read"


def listening(folder: Path, cert: str = "server.pem", key: str = "server.key", more: str = "") -> Path:
    return write(folder, config=CONFIG + LISTEN.format(cert=cert, key=key) + more)


@pytest.mark.process
def test_a_good_pair_is_fine(run: Run, tmp_path: Path, pair: Pair):
    result = run("check", "--config", listening(tmp_path))
    assert (result.status, result.err) == (0, "")


def test_files_are_reported_at_their_keys(run: Run, tmp_path: Path, authority: Authority, pair: Pair):
    authority.issue("other")
    authority.issue("locked", passphrase="hunter2")
    wrong = {
        ("no.pem", "no.key"): [
            f"47: listen.tls.cert: {UNREADABLE}; found: 'no.pem'",
            f"60: listen.tls.key: {UNREADABLE}; found: 'no.key'",
        ],
        ("server.pem", "other.key"): [
            "64: listen.tls.key: it does not match the certificate in `cert`; "
            "accepted: the private key of that certificate; found: 'other.key'"
        ],
        ("locked.pem", "locked.key"): [
            "64: listen.tls.key: it is encrypted, and the sidecar cannot prompt for a passphrase; "
            "accepted: an unencrypted key; found: 'locked.key'"
        ],
        ("server.key", "server.key"): [
            "47: listen.tls.cert: no certificate can be read from it; "
            "accepted: a PEM file of certificates, its own first; found: 'server.key'"
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
    output = [line.split(": ")[1] for line in result.err.splitlines()]
    assert {"listen.tls.cert", "listen.tls.key", "colour"} <= set(output)


def test_the_content_of_a_file_is_no_path(run: Run, tmp_path: Path, pair: Pair, monkeypatch: pytest.MonkeyPatch):
    """A key put where its path belongs, as environments invite one to do."""
    secret = pair.key.read_text()
    monkeypatch.setenv("TLS_KEY", secret)
    result = run("check", "--config", listening(tmp_path, key='"${TLS_KEY}"'))
    assert result.status == 1
    assert "listen.tls.key: not a path; accepted: a path, relative to the config file" in result.err
    assert not [line for line in secret.splitlines() if line in result.err]


@pytest.mark.process
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
    assert "config.yaml:5:64: listen.tls.key: it does not match the certificate" in result.err


def test_commands_that_serve_nothing_need_no_key(run: Run, tmp_path: Path, config: Path):
    written = config.read_text().replace("listen: 127.0.0.1:0\n", "")
    config.write_text(written + LISTEN.format(cert="no.pem", key="no.key"))
    assert run("check", "--config", config).status == 1
    assert run("account", "set", "acme", "--plan", "growth", "--create", "--config", config).status == 0
    assert run("credits", "grant", "acme", "contact", "5", "--config", config).status == 0
    assert run("explain", "--tool", "search", "--config", config).status == 0
