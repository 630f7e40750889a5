"""`trial-issuer`: a process that gives tokens for a resource of this machine, until it is interrupted."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys

import httpx2
import jwt
import pytest

from sidecar.cli import main
from sidecar.trial.local_requests import NOTICE

RESOURCE = "http://127.0.0.1:8080/mcp"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--resource", "https://mcp.example.com/mcp"], "is not on loopback"),
        (["--resource", "http://127.0.0.1.example.com/mcp"], "is not on loopback"),
        (["--resource", "nowhere"], "takes an http:// or https:// URL"),
        (["--resource", RESOURCE, "--port", "70000"], "a port must be an integer from 0 to 65535"),
        (["--resource", RESOURCE, "--host", "0.0.0.0"], "unrecognized arguments"),
        ([], "required: --resource"),
    ],
)
def test_a_wrong_command_line_is_2(capsys, words, said):
    assert main(["trial-issuer", *words]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.process
def test_a_port_in_use_is_1(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["trial-issuer", "--resource", RESOURCE, "--port", str(port)]) == 1
    assert f"port {port}: Address already in use; use another --port" in capsys.readouterr().err


@pytest.mark.process
def test_it_gives_tokens_until_it_is_interrupted():
    command = [
        sys.executable,
        "-m",
        "sidecar",
        "trial-issuer",
        "--resource",
        RESOURCE,
        "--port",
        "0",
        "--account",
        "bob",
    ]
    lines: list[str] = []
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            url = ""
            while not url and (line := process.stderr.readline()):
                lines.append(line)
                url = "".join(re.findall(r"curl -sX POST '([^?]+)\?", line))
            token = httpx2.post(f"{url}?scope=a+b", trust_env=False, timeout=60).text.strip()
        finally:
            process.send_signal(signal.SIGINT)
            lines += process.stderr.readlines()
    assert process.returncode == 0
    made = jwt.decode(token, options={"verify_signature": False})
    assert (made["aud"], made["sub"], made["scope"]) == (RESOURCE, "bob", "a b")
    assert all(line.startswith(NOTICE) for line in lines)
    assert lines[-1].endswith(": stopped\n")
