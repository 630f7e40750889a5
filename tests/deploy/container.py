"""The image of the Dockerfile, built by buildah on a stand-in of the base image, and run without a container runtime.

The stand-in is a Debian made by debootstrap, so what is specific to the official Python image is not tested. A
container is a process in mount and network namespaces of its own, with the image as its read-only root, and the user,
variables and commands that the image names. All this needs root, buildah and debootstrap; without them tests skip.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = ROOT / "tests" / ".image"
STAND_IN: Final = "localhost/mcp-sidecar-test-base"
_SECONDS: Final = 900
_NEEDED: Final = ("buildah", "debootstrap", "unshare", "nsenter", "chroot")
_AUTHORITIES: Final = Path("/etc/ssl/certs/ca-certificates.crt")
_ENTER: Final = """
set -e
root=$1; data=$2; etc=$3; user=$4; shift 4
mount --bind "$root" "$root"
tries=0
until mount -o remount,bind,ro "$root"; do  # busy while the kernel counts a writer of the new mount
  tries=$((tries + 1)); [ $tries -lt 300 ] || exit 1
  sleep 0.1
done
mount -t tmpfs none "$root/etc/mcp-sidecar"
cp -r "$etc"/. "$root/etc/mcp-sidecar"
mount -o remount,ro "$root/etc/mcp-sidecar"
mount --bind "$data" "$root/var/lib/mcp-sidecar"
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
ip link set lo up
cd "$root/etc/mcp-sidecar"
exec chroot --userspec="$user" "$root" /bin/sh -c 'cd /etc/mcp-sidecar && exec "$@"' sh "$@"
"""


def buildah(*words: str | Path) -> str:
    """Run buildah with a storage of the tests; fails with its last words."""
    storage = ("--root", FOLDER / "storage", "--runroot", FOLDER / "run", "--storage-driver", "vfs")
    return _run("buildah", *storage, *words)


def _run(*command: str | Path) -> str:
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=_SECONDS, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {(done.stdout + done.stderr)[-2000:]}")
    return done.stdout.strip()


def require() -> None:
    """Skip the test where an image cannot be built."""
    missing = [name for name in _NEEDED if shutil.which(name) is None]
    if os.geteuid() != 0 or missing:
        pytest.skip(f"building an image needs root and {', '.join(missing) or 'nothing else'}")


@contextmanager
def exclusive() -> Iterator[None]:
    """Wait until no other process builds or runs an image of this checkout."""
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def prepare_base() -> None:
    """Make the stand-in, once per checkout."""
    if STAND_IN in buildah("images", "--format", "{{.Name}}"):
        return
    release = re.findall(r"^VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text(), re.M)
    base = FOLDER / "context" / "base"
    shutil.rmtree(base, ignore_errors=True)
    base.parent.mkdir(exist_ok=True)
    try:
        _run("debootstrap", "--variant=minbase", "--include=python3,python3-venv,ca-certificates", *release, base)
    except RuntimeError as missing:
        pytest.skip(str(missing))
    (base / "usr/bin/python").symlink_to("python3")
    shutil.copy(_AUTHORITIES, base / _AUTHORITIES.relative_to("/"))
    if (settings := Path("/etc/pip.conf")).exists():
        shutil.copy(settings, base / "etc/pip.conf")
    (base.parent / "Dockerfile").write_text(f"FROM scratch\nCOPY base /\nENV PIP_CERT={_AUTHORITIES}\n")
    buildah("build", "--isolation", "chroot", "--tag", STAND_IN, base.parent)
    shutil.rmtree(base)


def build(tag: str, *, cached: bool = True) -> str:
    """Build the image as the release does; return the digests of its layers."""
    buildah(
        *("build", "--isolation", "chroot", "--network", "host", "--pull-never", "--format", "docker"),
        *("--timestamp", "315532800", "--build-arg", f"BASE={STAND_IN}", "--tag", tag),
        *(() if cached else ("--no-cache",)),
        ROOT,
    )
    return json.dumps(_inspected(tag)["Docker"]["rootfs"])


def clean(*tags: str) -> None:
    """Remove these images, and what earlier builds of other files have left: each holds whole copies of its layers."""
    kept = buildah("images", "--format", "{{.Name}}").split()
    for tag in tags:
        if tag in kept:
            buildah("rmi", tag)
    buildah("rmi", "--prune")


def _inspected(tag: str) -> dict[str, Any]:
    return dict(json.loads(buildah("inspect", "--type", "image", tag)))


@dataclass(frozen=True, slots=True)
class Container:
    """A running container.

    Attributes:
        config: of its image.
        process: the image's entry point and command.
        root: the image's files.
    """

    config: Mapping[str, Any]
    process: subprocess.Popen[bytes]
    root: Path

    def execute(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in it, as its user."""
        inside = ("nsenter", "--target", str(self.process.pid), "--mount", "--net")
        return subprocess.run(
            [*inside, "chroot", f"--userspec={self.config['User']}", str(self.root), *command],
            env=_variables(self.config),
            capture_output=True,
            text=True,
            timeout=30,
        )

    def is_healthy(self) -> bool:
        """Run the image's health check."""
        kind, *command = self.config["Healthcheck"]["Test"]
        assert kind == "CMD"
        return self.execute(*command).returncode == 0


def _variables(config: Mapping[str, Any]) -> dict[str, str]:
    return dict(each.split("=", 1) for each in config["Env"])


@contextmanager
def running(tag: str, mounted: Path, data: Path, log: Path, **variables: str) -> Iterator[Container]:
    """Run an image: its root is read-only, `mounted` is its config folder, `data` its volume."""
    config = _inspected(tag)["Docker"]["config"]
    assert list(config["Volumes"]) == ["/var/lib/mcp-sidecar"]
    user, _, group = config["User"].partition(":")
    os.chown(data, int(user), int(group))  # as a runtime does with a new volume
    name = buildah("from", "--pull-never", tag)
    root = Path(buildah("mount", name))
    command = [*config["Entrypoint"], *config["Cmd"]]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *("unshare", "--mount", "--net", "sh", "-c", _ENTER, "sh"),
                *(str(root), str(data), str(mounted), config["User"], *command),
            ],
            env={**_variables(config), "PATH": f"{_variables(config)['PATH']}:/usr/sbin:/sbin", **variables},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield Container(config, process, root)
    finally:
        process.kill()
        process.wait()
        buildah("rm", name)
