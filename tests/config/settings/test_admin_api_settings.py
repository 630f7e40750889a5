"""Settings of the admin API: no token crosses a network in plain text, and every program has its own name and token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from sidecar.config.documents.merging import DocumentError, parse
from sidecar.config.settings.addresses import Address
from sidecar.config.settings.admin_api_settings import UnixAddress
from sidecar.config.settings.settings import Settings, settings_of

TOKEN = "hunter2-" + "x" * 32
PROGRAM = {"name": "billing", "token": TOKEN, "may": ["read"]}
CLIENT = {"name": "billing.internal", "may": ["read"]}
TLS = {"cert": "c.pem", "key": "k.pem"}
MUTUAL = {**TLS, "client_ca": "ca.pem"}


def config(section: Any, **more: Any) -> str:
    return yaml.safe_dump(
        {
            "resource": "https://mcp.example.com/mcp",
            "backend": {"url": "http://127.0.0.1:8000/mcp"},
            "issuers": [{"issuer": "https://example.com"}],
            "admin_api": section,
            **more,
        }
    )


def settings(section: Any, **more: Any) -> Settings:
    return settings_of(parse("config.yaml", config(section, **more)), Path("/etc/sidecar"))


@pytest.mark.parametrize(
    "section",
    [
        {"listen": "127.0.0.1:9091", "tokens": [PROGRAM]},
        {"listen": "localhost:9091", "tokens": [PROGRAM]},
        {"listen": "[::1]:9091", "tokens": [PROGRAM]},
        {"listen": "0.0.0.0:9091", "tls": TLS, "tokens": [PROGRAM]},
        {"listen": ["10.0.0.1:9091", "unix:run/api.sock"], "tls": MUTUAL, "tokens": [PROGRAM], "clients": [CLIENT]},
        {"listen": "10.0.0.1:9091", "tls": MUTUAL, "clients": [CLIENT]},
        {"listen": "unix:/run/api.sock", "tokens": [PROGRAM]},
    ],
)
def test_sections_that_are_accepted(section: Any):
    assert settings(section).admin_api is not None


def test_addresses_and_paths_are_read():
    found = settings({"listen": ["127.0.0.1:0", "unix:run/a.sock", "unix:/b"], "tokens": [PROGRAM]}).admin_api
    assert found is not None
    assert found.listen == (
        *(Address("127.0.0.1", 0), UnixAddress(Path("/etc/sidecar/run/a.sock")), UnixAddress(Path("/b"))),
    )
    assert found.addresses == (Address("127.0.0.1", 0),)
    assert TOKEN not in repr(found)


HERE = {"listen": "127.0.0.1:9091"}


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        ({}, "admin_api.listen: required but missing"),
        (HERE, "admin_api: no program may use it; accepted: tokens, or clients with tls.client_ca"),
        ({**HERE, "listen": [], "tokens": [PROGRAM]}, "admin_api.listen: no address"),
        ({**HERE, "listen": "9091", "tokens": [PROGRAM]}, "admin_api.listen: not an address"),
        ({**HERE, "listen": "unix:", "tokens": [PROGRAM]}, "admin_api.listen: not an address"),
        (
            {**HERE, "listen": "0.0.0.0:9091", "tokens": [PROGRAM]},
            "admin_api.listen: plain HTTP on an address that other machines can reach; accepted: tls, loopback",
        ),
        (
            {**HERE, "listen": ["127.0.0.1:9091", "sidecar.internal:9091"], "tokens": [PROGRAM]},
            "admin_api.listen: plain HTTP on an address that other machines can reach",
        ),
        ({**HERE, "listen": "unix:/a", "tls": TLS, "tokens": [PROGRAM]}, "admin_api.tls: not used by unix sockets"),
        ({**HERE, "listen": ["127.0.0.1:1", "127.0.0.1:1"], "tokens": [PROGRAM]}, "admin_api.listen: two addresses"),
        ({**HERE, "listen": "127.0.0.1:9090", "tokens": [PROGRAM]}, "admin_api.listen: overlaps an address"),
        ({**HERE, "listen": "127.0.0.1:8080", "tokens": [PROGRAM]}, "admin_api.listen: overlaps an address"),
        ({**HERE, "clients": [CLIENT]}, "admin_api.clients: without tls.client_ca"),
        ({**HERE, "tls": TLS, "clients": [CLIENT]}, "admin_api.clients: without tls.client_ca"),
        ({**HERE, "tls": MUTUAL, "tokens": [PROGRAM]}, "admin_api.tls.client_ca: not used without clients"),
        ({**HERE, "tokens": [{**PROGRAM, "token": "x" * 31}]}, "admin_api.tokens[0].token: too short"),
        (
            {**HERE, "tokens": [{**PROGRAM, "token": TOKEN + " "}]},
            "admin_api.tokens[0].token: too short, or",
        ),
        ({**HERE, "tokens": [{**PROGRAM, "token": ""}]}, "admin_api.tokens[0].token: empty or too long"),
        ({**HERE, "tokens": [{**PROGRAM, "token": 5}]}, "admin_api.tokens[0].token: an integer is given"),
        ({**HERE, "tokens": [{**PROGRAM, "may": []}]}, "admin_api.tokens[0].may: too few entries"),
        ({**HERE, "tokens": [{**PROGRAM, "may": ["all"]}]}, "admin_api.tokens[0].may[0]: not an accepted value"),
        ({**HERE, "tokens": [{**PROGRAM, "may": ["read", "read"]}]}, "admin_api.tokens[0].may[1]: given twice"),
        ({**HERE, "tokens": [{**PROGRAM, "name": "a b"}]}, "admin_api.tokens[0].name: "),
        ({**HERE, "tokens": [PROGRAM], "origins": ["*"]}, "admin_api.origins: unknown key"),
    ],
)
def test_each_mistake_is_reported_at_its_place(section: Any, problem: str):
    with pytest.raises(DocumentError) as refused:
        settings(section)
    (found,) = map(str, refused.value.problems)
    assert found.split(": ", 1)[1].startswith(problem)
    assert "hunter2" not in found


def test_programs_have_names_and_tokens_of_their_own():
    section = {
        "listen": "10.0.0.1:9091",
        "tls": MUTUAL,
        "tokens": [PROGRAM, {**PROGRAM, "may": ["credits"]}, {**PROGRAM, "name": "other", "token": TOKEN + "2"}],
        "clients": [CLIENT, CLIENT, {**CLIENT, "name": "other"}],
    }
    with pytest.raises(DocumentError) as refused:
        settings(section)
    assert sorted(str(each).split(": ")[1] for each in refused.value.problems) == [
        *("admin_api.clients[1].name", "admin_api.clients[2].name"),
        *("admin_api.tokens[1].name", "admin_api.tokens[1].token"),
    ]
