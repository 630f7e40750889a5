"""compose.yaml against the compose specification, and against the files and names that it mentions."""

from __future__ import annotations

import copy
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from sidecar.config.files import load_settings
from tests.support.debian import promtool
from tests.support.pypi import program

pytestmark = pytest.mark.process

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE = DEPLOY / "compose.yaml"
SPECIFICATION = "compose-spec==0.2.1"
READ = "import compose_spec,sys; compose_spec.PyCompose.from_json(sys.stdin.read()).validate()"
Json = dict[str, Any]


@pytest.fixture
def composed() -> Json:
    return dict(yaml.safe_load(COMPOSE.read_text()))


def problem(document: Json) -> str:
    """Return what the specification's reader says of a file; empty if it accepts it."""
    python = program(SPECIFICATION, "python")
    done = subprocess.run([python, "-c", READ], input=json.dumps(document), capture_output=True, text=True, timeout=50)
    return done.stderr.strip().rpartition("\n")[2]


@pytest.mark.pypi(SPECIFICATION)
def test_the_specification_accepts_it(composed: Json):
    assert problem(composed) == ""


@pytest.mark.pypi(SPECIFICATION)
def test_unknown_keys_and_networks_are_found(composed: Json):
    misspelt, lost = copy.deepcopy(composed), copy.deepcopy(composed)
    misspelt["services"]["store"]["commnd"] = "x"
    lost["services"]["store"]["networks"] = ["nowhere"]
    assert "commnd" in problem(misspelt)
    assert "nowhere" in problem(lost)


def test_the_files_that_it_mounts_exist(composed: Json):
    mounted = [
        source
        for service in composed["services"].values()
        for source, _, _ in (volume.partition(":") for volume in service.get("volumes", ()))
        if source.startswith(".")
    ]
    assert len(mounted) >= 5
    assert [each for each in mounted if not (DEPLOY / each).exists()] == []
    for service in composed["services"].values():
        if isinstance(service.get("build"), dict):
            assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).exists()


def test_images_are_exact(composed: Json):
    images = [service["image"] for service in composed["services"].values() if "image" in service]
    assert images
    assert all(re.search(r":v?\d+\.\d+\.\d+", image) for image in images)


def test_the_backend_and_the_store_are_reached_by_the_sidecar_only(composed: Json):
    services = composed["services"]
    for network in ("backend", "store"):
        members = {name for name, service in services.items() if network in service["networks"]}
        assert members == {"sidecar", network}
        assert composed["networks"][network] == {"internal": True}
        assert "ports" not in services[network]


def test_no_port_is_published_beyond_this_machine(composed: Json):
    ports = [port for service in composed["services"].values() for port in service.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_sidecar_gets_what_its_config_reads_and_finds_its_store(composed: Json):
    service = composed["services"]["sidecar"]
    given = {name: re.sub(r"\$\{\w+(:-|:\?)?([^}]*)\}", r"\2", value) for name, value in service["environment"].items()}
    read = set(re.findall(r"\$\{(\w+)", (DEPLOY / "config.yaml").read_text()))
    assert read == set(given)
    settings = load_settings(DEPLOY / "config.yaml", {**given, "STORE_PASSWORD": "canary"})
    assert "canary@store:6379" in settings.store.url
    assert "store" in composed["services"]
    assert settings.admin_hosts == ("sidecar",) or list(settings.admin_hosts) == ["sidecar"]


def test_prometheus_accepts_its_config_and_scrapes_a_host_that_admin_serves():
    done = subprocess.run(
        [promtool(), "check", "config", str(DEPLOY / "prometheus.yaml")], capture_output=True, text=True, timeout=50
    )
    assert done.returncode == 0, done.stdout + done.stderr
    scraped = yaml.safe_load((DEPLOY / "prometheus.yaml").read_text())["scrape_configs"][0]["static_configs"][0]
    assert scraped["targets"] == ["sidecar:9090"]


def test_the_stores_password_is_read_from_its_environment(tmp_path: Path, composed: Json):
    """The shell lines of the service, with a program in the place of the server that prints what it reads."""
    shell, flag, script = composed["services"]["store"]["command"]
    server = tmp_path / "valkey-server"
    server.write_text('#!/bin/sh\necho "$@"\ncat\n')
    server.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "STORE_PASSWORD": "canary"}
    done = subprocess.run(
        [shell, flag, script.replace("$$", "$")], env=environment, capture_output=True, text=True, timeout=50
    )
    arguments, read = done.stdout.splitlines()
    assert read == "requirepass canary"
    assert arguments.split() == [
        *("-", "--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction")
    ]
