"""The night of an operator who edits the policy of a running sidecar: every mistake is named, and none bites.

One sidecar lives through the whole night: a typo, a quota in shadow mode, its promotion, bad policies under load, and
the question why a call was refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sidecar.cli import main as mcp_sidecar
from tests.faults.callers import command
from tests.support.processes import House, SidecarProcess, house, succeeded, wait_for
from tests.support.rig import Json, Reply
from tests.support.store import StoreServer

pytestmark = pytest.mark.timeout(300)  # processes start slowly where many tests share a processor

SEARCH, OTHER = "search_shopify_stores", "list_taxonomy"
EVENING = f"""\
scopes: {{}}
consent: first_use
quotas:
  requests: {{day: 100000}}
defaults: {{uses: {{requests: 1}}}}
tools:
  {SEARCH}:
    scopes: []
    uses: {{requests: 1}}
  {OTHER}:
    scopes: []
tests:
  - {{name: searching is allowed, call: {{tool: {SEARCH}}}, expect: allow}}
"""
TYPO = EVENING.replace("    uses: {requests: 1}\n", "    usse: {requests: 1}\n")
SHADOW = EVENING.replace("{day: 100000}\n", "{day: 100000}\n  searches: {day: 2, mode: shadow}\n").replace(
    "    uses: {requests: 1}\n", "    uses: {requests: 1, searches: 1}\n"
)
PROMOTED = SHADOW.replace(", mode: shadow", "")
BAD = {
    "an unclosed bracket": (PROMOTED.replace("scopes: []", "scopes: [", 1), "["),
    "an unknown key": (PROMOTED.replace("consent:", "consnet:"), "consent"),
    "a quota that is not declared": (PROMOTED.replace("searches: 1", "serches: 1"), "searches"),
    "a policy test that fails": (PROMOTED.replace("expect: allow", "expect: plan_required"), "searching is allowed"),
    "an empty file": ("", "policy.yaml"),
}


def place(text: str, part: str) -> str:
    """`policy.yaml:N` of the line that has this part."""
    [number] = [number for number, line in enumerate(text.splitlines(), 1) if part in line]
    return f"policy.yaml:{number}"


@dataclass(slots=True)
class Shift:
    """The operator, the sidecar and its callers.

    Attributes:
        replies: answers to the callers of `calling`.
    """

    built: House
    sidecar: SidecarProcess
    replies: list[Reply] = field(default_factory=list)

    def save(self, text: str) -> None:
        """Save the policy as editors do, in one step."""
        new = self.built.folder / "policy.new"
        new.write_text(text)
        new.replace(self.built.folder / "policy.yaml")

    async def run(self, *words: str) -> tuple[int, str]:
        """Run a command with the sidecar's config; its status and output."""
        return await command(self.built, *words)

    async def search(self) -> Reply:
        return await self.built.call(self.sidecar, SEARCH)

    async def metric(self, series: str) -> float | None:
        """The value of one series; None without it."""
        async with self.built.http.get(f"{self.sidecar.admin}/metrics") as answer:
            lines = (await answer.text()).splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.rpartition(" ")[0] == series), None)

    async def becomes(self, series: str, value: float) -> None:
        async with asyncio.timeout(60):
            while await self.metric(series) != value:  # noqa: ASYNC110 - it is another process
                await asyncio.sleep(0.05)

    async def revision(self) -> str:
        """The revision of the policy in force, by its gauge."""
        async with self.built.http.get(f"{self.sidecar.admin}/metrics") as answer:
            lines = (await answer.text()).splitlines()
        [found] = [line for line in lines if line.startswith("mcp_sidecar_policy_info{") and line.endswith(" 1.0")]
        return found.split('"')[1]

    async def call_line(self, reply: Reply) -> Json:
        """The line of a call in the log."""
        wanted = reply.headers["X-Request-Id"]

        def found() -> list[Json]:
            return [line for line in self.sidecar.events("call") if line["request_id"] == wanted]

        await wait_for(lambda: bool(found()))
        return found()[0]

    @asynccontextmanager
    async def calling(self) -> AsyncIterator[None]:
        """Callers of another account at work until the block ends."""
        over = asyncio.Event()

        async def work() -> None:
            while not over.is_set():
                self.replies.append(await self.built.call(self.sidecar, OTHER, account="bob"))

        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(work())
            try:
                yield
            finally:
                over.set()

    async def more_replies(self, count: int) -> None:
        """Wait for further answers to the callers."""
        enough = len(self.replies) + count
        await wait_for(lambda: len(self.replies) >= enough)


@asynccontextmanager
async def on_duty(folder: Path, server: StoreServer) -> AsyncIterator[Shift]:
    async with house(folder, server.url, policy=EVENING, control="control.sock") as built:
        yield Shift(built, await built.start())


async def test_a_night_of_policy_edits_bites_only_when_it_should(tmp_path: Path, store_server: StoreServer):
    async with on_duty(tmp_path, store_server) as shift:
        assert succeeded(await shift.search())
        await a_typo_is_named_and_the_old_policy_stays(shift)
        await a_quota_in_shadow_mode_counts_and_refuses_nothing(shift)
        refused = await the_promoted_quota_refuses(shift)
        await bad_policies_under_load_fail_no_request(shift)
        await last_nights_refusal_is_explained(shift, refused)
        assert shift.sidecar.status is None
        shift.sidecar.terminate()
        assert await shift.sidecar.ended() == 0


async def a_typo_is_named_and_the_old_policy_stays(shift: Shift) -> None:
    before = await shift.revision()
    assert await shift.metric("mcp_sidecar_files_valid") == 1
    shift.save(TYPO)
    status, said = await shift.run("check")
    assert (status, f"{place(TYPO, 'usse')}:" in said, "did you mean uses?" in said) == (1, True, True), said
    await shift.becomes("mcp_sidecar_files_valid", 0)
    await wait_for(lambda: bool(shift.sidecar.events("files_invalid")))
    [line] = shift.sidecar.events("files_invalid")
    assert place(TYPO, "usse") in str(line)
    assert await shift.revision() == before
    assert succeeded(await shift.search())


async def a_quota_in_shadow_mode_counts_and_refuses_nothing(shift: Shift) -> None:
    before = await shift.revision()
    shift.save(SHADOW)
    assert (await shift.run("check"))[0] == 0
    status, said = await shift.run("reload")
    assert (status, "+quota searches" in said) == (0, True), said
    assert await shift.revision() != before
    assert await shift.metric("mcp_sidecar_files_valid") == 1
    assert [succeeded(await shift.search()) for _ in range(3)] == [True] * 3
    series = f'mcp_sidecar_shadow_refusals_total{{code="quota_exceeded",quota="searches",tool="{SEARCH}"}}'
    await shift.becomes(series, 1)
    await wait_for(lambda: bool(shadowed(shift)))
    [line] = shadowed(shift)
    assert (line["code"], line["shadow"][0]["code"]) == ("ok", "quota_exceeded")
    assert line["shadow"][0]["rule"].endswith(f"/{place(SHADOW, 'mode: shadow')}")


def shadowed(shift: Shift) -> list[Json]:
    """Lines of calls that a rule in shadow mode would have refused."""
    return [line for line in shift.sidecar.events("call") if line["shadow"]]


async def the_promoted_quota_refuses(shift: Shift) -> Reply:
    old = shift.built.folder / "shadow.yaml"
    old.write_text(SHADOW)
    shift.save(PROMOTED)
    status = await asyncio.to_thread(mcp_sidecar, ["diff", str(old), str(old.with_name("policy.yaml")), "--exit-code"])
    assert status == 1
    status, said = await shift.run("reload")
    assert (status, "quota searches" in said) == (0, True), said
    refused = await shift.search()
    assert (refused.code, succeeded(await shift.built.call(shift.sidecar, OTHER))) == ("quota_exceeded", True)
    return refused


async def bad_policies_under_load_fail_no_request(shift: Shift) -> None:
    before = await shift.revision()
    async with shift.calling():
        for about, (text, named) in BAD.items():
            shift.save(text)
            await shift.more_replies(5)
            status, said = await shift.run("reload")
            assert (status, named in said, "refused: " in said) == (1, True, True), (about, said)
            assert await shift.metric("mcp_sidecar_last_reload_success") == 0
            assert await shift.revision() == before
            await shift.more_replies(5)
        shift.save(PROMOTED)
        assert (await shift.run("reload"))[0] == 0
        await shift.more_replies(5)
    assert [reply for reply in shift.replies if not succeeded(reply)] == []
    assert await shift.metric("mcp_sidecar_last_reload_success") == 1
    assert (await shift.search()).code == "quota_exceeded"


async def last_nights_refusal_is_explained(shift: Shift, refused: Reply) -> None:
    """Ask for the reason, and do what the answer says."""
    await shift.call_line(refused)
    words = ("--request-id", refused.headers["X-Request-Id"], "--log", str(shift.sidecar.log))
    status, said = await shift.run("explain", *words)
    assert status == 0, said
    [budget] = [line for line in said.splitlines() if "FAIL" in line]
    assert "quota searches, needed 1, left 0, limit 2, window day" in budget
    uses = "uses: {requests: 1, searches: 1}"
    assert budget.endswith(f"/{place(PROMOTED, uses)}]")
    assert said.rstrip().endswith(f"/{place(PROMOTED, uses)}: {uses}")
    [remedy] = [line for line in said.splitlines() if "to pass" in line]
    _, fix, _ = remedy.split("`")
    program, *line = fix.replace("=N", "=10").split()
    assert (program, "(and --create if the store has no record of it)" in remedy) == ("mcp-sidecar", True)
    status, said = await shift.run(*line, "--create")  # the account has only the default plan
    assert status == 0, said
    assert succeeded(await shift.search())
