"""The story as a user runs it: it reports its outcome, and ends everything that it has started."""

import contextlib
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from demo.files import POLICY
from demo.scenes import NOT_SHOWN
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
    "> POST /account/confirm/",
    "credits 4 + held 0 + spent 7 = 11; granted 11: they are equal",
    "401 consent_revoked",
    "grant_type=refresh_token",
    "200 consent_revoked",
    "> POST /account/clients -> 303",
    "kill -9",
    "credits 2 + held 2 + spent 7 = 11; granted 11: they are equal",
    "credits 2 + held 0 + spent 9 = 11; granted 11: they are equal",
    '"event":"call"',
    "mcp_sidecar_credits_spent_total",
    "gate        refusals   codes, with their HTTP status",
    "in all            38   the server got 13 tool calls",
    "every step had the expected outcome",
]


@contextlib.contextmanager
def story_process(*command):
    """Run the story as a process, and always end it as a user would."""
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
            process.communicate(timeout=120)


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


@pytest.mark.timeout(400)
def test_the_whole_story():
    with story_process("demo", "-v") as story:
        output, _ = story.communicate(timeout=300)
    assert story.returncode == 0, output
    at = 0
    for milestone in MILESTONES:
        found = output.find(milestone, at)
        assert found >= 0, f"{milestone}\n{output}"
        at = found
    for code in ErrorCode:
        assert (f" {code.id} " in output) != (code in NOT_SHOWN), code
    assert "UNEXPECTED" not in output
    assert_nothing_is_left(output)


@pytest.mark.timeout(400)
def test_a_step_that_fails_ends_the_story_with_its_requests(tmp_path):
    policy = tmp_path / "policy.yaml"
    untested = POLICY[: POLICY.index("\ntests:")]
    policy.write_text(re.sub(r"\n    confirm: .*", "", untested))
    with story_process("demo", "--policy", str(policy)) as story:
        output, _ = story.communicate(timeout=300)
    assert story.returncode == 1, output
    lines = output.splitlines()
    marks = [line.split("(")[0].split()[-1] for line in lines if re.match(r" +[0-9]+/[0-9]+  ", line)]
    assert marks == ["ok"] * 5 + ["FAILED"]
    requests = output[output.index("FAILED") :]
    assert "tools/call reveal_contacts" in requests
    assert "UNEXPECTED: expected 200 confirmation_required, and 0 more tool calls at the backend" in requests
    assert "tools/call search_shopify_contacts" not in output  # those of the steps before
    assert "every step had the expected outcome" not in output


@pytest.mark.timeout(400)
def test_interrupting_ends_everything():
    with story_process("demo", "-v") as story:
        output = until_line(story, "  3/")
        story.send_signal(signal.SIGTERM)  # which becomes what Ctrl-C is
        rest, _ = story.communicate(timeout=120)
    assert story.returncode == 130, rest
    assert "interrupted" in rest
    assert_nothing_is_left(output)
