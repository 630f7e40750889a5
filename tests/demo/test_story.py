"""The story as a user runs it: it says whether it was right, and ends everything it has started."""

import contextlib
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from sidecar.demo.files import POLICY
from sidecar.demo.scenes import NOT_SHOWN
from sidecar.errors import ErrorCode

MILESTONES = [
    "401 token_missing",
    "401 token_invalid",
    "POST /api/auth/oauth2/token grant_type=authorization_code -> 200",
    'search_shopify_contacts {"domain": "apparel-1.example", "limit": 5} -> 403 insufficient_scope',
    "200 confirmation_required",
    "It costs 2 of your 5 contact credits.",
    'the receipt in _meta says: {"credits": {"contact": {"spent": 2, "left": 3}}}',
    "credits 3 + held 0 + spent 2 = 5; granted 5: they are equal",
    "[2025-11-25] tools/call",
    "200 quota_exceeded",
    "200 insufficient_credits",
    "401 consent_revoked",
    "grant_type=refresh_token",
    "200 consent_revoked",
    "kill -9",
    "credits 2 + held 2 + spent 6 = 10; granted 10: they are equal",
    "credits 2 + held 0 + spent 8 = 10; granted 10: they are equal",
    '"event":"call"',
    "mcp_sidecar_credits_spent_total",
    "every step came out as told",
]


@contextlib.contextmanager
def told(*command):
    """The story as a process; whatever happens, it is ended as a user would end it."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        with contextlib.suppress(ValueError):  # its output was closed before
            process.communicate(timeout=60)


def until_line(process, holds):
    lines = []
    for line in process.stdout:
        lines.append(line)
        if holds in line:
            return "".join(lines)
    raise AssertionError("".join(lines))


def assert_nothing_is_left(output):
    for port in re.findall(r"127\.0\.0\.1:(\d+)", output.split("Commands are shown")[0]):
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", int(port)))
    [folder] = (Path(found) for found in re.findall(r"files\s+(\S+)/config.yaml", output))
    assert not folder.exists()
    if Path("/proc/self").exists():
        for place in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                assert folder.name not in place.read_text()


@pytest.mark.timeout(150)
def test_the_whole_story():
    with told("sidecar", "demo") as story:
        output, _ = story.communicate(timeout=120)
    assert story.returncode == 0, output
    at = 0
    for milestone in MILESTONES:
        found = output.find(milestone, at)
        assert found >= 0, f"{milestone}\n{output}"
        at = found
    for code in ErrorCode:
        assert (f" {code.id} " in output) != (code in NOT_SHOWN), code
    assert "NOT AS TOLD" not in output
    assert_nothing_is_left(output)


@pytest.mark.timeout(150)
def test_a_policy_without_the_confirmation_is_found_out_and_can_be_looked_at(tmp_path):
    policy = tmp_path / "policy.yaml"
    untested = POLICY[: POLICY.index("\ntests:")]
    policy.write_text(re.sub(r"\n    confirm: .*", "", untested))
    with told("sidecar.demo.story", "--keep", "--policy", str(policy)) as story:
        output = until_line(story, "kill -HUP")
        assert "NOT AS TOLD: 200 confirmation_required, and 0 more tool calls at the backend" in output
        assert "every step came out as told" not in output
        if shutil.which("curl"):
            assert_the_commands_work(output)
        story.send_signal(signal.SIGINT)
        rest, _ = story.communicate(timeout=60)
    assert story.returncode == 1, rest
    assert_nothing_is_left(output)


def assert_the_commands_work(output):
    """Run what is printed, but for the signal at its end, in the order in which it is printed."""
    script = output[output.index("# a token for the client") : output.index("# edit ")]
    done = subprocess.run(["bash", "-e"], input=script, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    said = ("401 Unauthorized", "apparel", "c20", "plan team", "mcp_sidecar_requests_total", "revoked: client curl")
    assert [each for each in said if each not in done.stdout] == []


@pytest.mark.timeout(150)
def test_interrupting_ends_everything():
    with told("sidecar.demo.story") as story:
        output = until_line(story, "  3  ")
        story.send_signal(signal.SIGTERM)  # which becomes what Ctrl-C is
        rest, _ = story.communicate(timeout=60)
    assert story.returncode == 130, rest
    assert "interrupted" in rest
    assert_nothing_is_left(output)
