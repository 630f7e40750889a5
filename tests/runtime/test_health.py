"""Starting without what is needed, recovering without a restart, reloading, and keeping secrets all the while."""

from __future__ import annotations

import asyncio
import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sidecar.observe.logs import Lines
from sidecar.observe.repeats import Repeats
from sidecar.proxy.backend.pool import BackendPool, Outgoing
from sidecar.runtime.watches.backend_watch import BackendWatch
from tests.proxy.support import POLICY, Launch, contacts, policy
from tests.support import backend as scripted
from tests.support.backend import Backend
from tests.support.issuer import Issuer
from tests.support.rig import LEGACY, MODERN, Json, Rig, until_ready
from tests.support.store import FaultProxy, StoreServer, free_port, rest, until


async def health(rig: Rig) -> tuple[int, str]:
    async with rig.http.get(f"{rig.admin}/healthz") as answer:
        return answer.status, await answer.text()


async def lacks(rig: Rig) -> dict[str, str]:
    """Return the failed checks of `/readyz`; nothing when it is ready."""
    status, body = await rig.ready()
    missing = {name: said for name, said in body["checks"].items() if said != "ok"}
    assert (status, body["ready"]) == ((503, False) if missing else (200, True))
    return missing


def events(rig: Rig, name: str) -> list[Json]:
    return [line for line in rig.log if line["event"] == name]


async def missed(rig: Rig, what: str) -> Json:
    """Wait for the log line that says what is missing."""
    await until(lambda: any(line["what"] == what for line in events(rig, "not_ready")))
    return next(line for line in events(rig, "not_ready") if line["what"] == what)


# --- readiness -----------------------------------------------------------------------------------


async def test_a_sidecar_that_has_everything_is_ready(rig: Rig):
    assert await rig.ready() == (
        200,
        {"ready": True, "checks": {"policy": "ok", "store": "ok", "keys": "ok", "backend": "ok"}},
    )
    assert await health(rig) == (200, "ok\n")
    for gauge in ("store_up", "backend_connected", "files_valid", "last_reload_success", 'keys_up{issuer="main"}'):
        assert await rig.metric(f"mcp_sidecar_{gauge}") == 1


async def test_a_store_that_is_away_at_start(fault_proxy: FaultProxy, own_server: StoreServer, bare: Launch):
    await fault_proxy.refuse()
    rig = await bare(server=own_server, store_url=fault_proxy.url, ready=False)
    line = await missed(rig, "store")
    assert (line["level"], bool(line["problem"])) == ("warning", True)
    await until_lacking(rig, {"store"})
    assert await health(rig) == (200, "ok\n")
    assert await rig.metric("mcp_sidecar_store_up") == 0
    assert (await rig.call("list_taxonomy")).code == "store_unavailable"
    await fault_proxy.listen()
    await until_ready(rig)
    await rig.account()
    await rig.grant()
    assert (await rig.call("list_taxonomy")).status == 200
    await until(lambda: any(line["what"] == "store" for line in events(rig, "ready")))
    assert await rig.metric("mcp_sidecar_store_up") == 1


async def test_a_store_that_goes_away_and_comes_back(fault_proxy: FaultProxy, own_server: StoreServer, bare: Launch):
    rig = await bare(server=own_server, store_url=fault_proxy.url)
    await rig.account()
    await rig.grant()
    await fault_proxy.refuse()
    await until_lacking(rig, {"store"})
    assert await health(rig) == (200, "ok\n")
    await missed(rig, "store")
    await fault_proxy.listen()
    await until_ready(rig)
    assert (await rig.call("list_taxonomy")).status == 200


async def test_keys_that_cannot_be_had_at_start(launch: Launch):
    issuers: list[Issuer] = []

    def hold(issuer: Issuer) -> None:
        issuers.append(issuer)
        issuer.hold.clear()

    rig = await launch(prepare=hold, ready=False)
    await until_lacking(rig, {"keys"})
    await missed(rig, "keys")
    assert await health(rig) == (200, "ok\n")
    issuers[0].hold.set()
    await until_ready(rig)
    assert (await rig.call("list_taxonomy")).status == 200


async def test_an_issuer_that_fails_at_start_is_asked_again(launch: Launch):
    """Takes as long as the interval between two fetches."""
    issuers: list[Issuer] = []

    def fail(issuer: Issuer) -> None:
        issuers.append(issuer)
        issuer.fault = 503

    rig = await launch(prepare=fail, ready=False)
    await until(lambda: any("503" in (line["problem"] or "") for line in events(rig, "not_ready")))
    assert "503" in (await lacks(rig))["keys"]
    reply = await rig.call("list_taxonomy")
    assert (reply.status, reply.code) == (503, "issuer_unavailable")
    assert "WWW-Authenticate" not in reply.headers
    issuers[0].fault = None
    await until_ready(rig)
    assert (await rig.call("list_taxonomy")).status == 200


async def test_a_backend_that_is_away_at_start(launch: Launch):
    backend = Backend()
    async with backend:
        pass  # its port is known now, and no process listens
    rig = await launch(backend_url=backend.url, ready=False)
    line = await missed(rig, "backend")
    assert "cannot connect" in line["problem"]
    await until_lacking(rig, {"backend"})
    assert (await rig.call("list_taxonomy")).code == "backend_unavailable"
    async with backend:
        await until_ready(rig)
        assert (await rig.call("list_taxonomy")).status == 200
    assert await lacks(rig) == {}  # it was reached once: from here on each call finds out for itself


async def until_lacking(rig: Rig, what: set[str]) -> None:
    async with asyncio.timeout(60):
        while set(await lacks(rig)) != what:
            await rest()


async def test_the_admin_listener_serves_its_three_paths_and_nothing_else(rig: Rig):
    async with rig.http.get(f"{rig.admin}/metrics") as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    for path in ("/", "/mcp", "/metrics/", "/.well-known/oauth-protected-resource"):
        async with rig.http.get(f"{rig.admin}{path}") as answer:
            assert answer.status == 404
    async with rig.http.post(f"{rig.admin}/metrics") as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")


async def test_counters_of_the_policy_in_force_are_there_before_the_first_call(rig: Rig):
    async def has(tool: str) -> bool:
        return await rig.metric(f'mcp_sidecar_settle_problems_total{{tool="{tool}"}}') == 0

    assert await has("list_taxonomy")
    assert await rig.metric('mcp_sidecar_credits_spent_total{pool="contact"}') == 0
    assert await rig.metric('mcp_sidecar_refusals_total{code="internal",gate="forward",pool="",quota=""}') == 0
    assert await rig.metric('mcp_sidecar_streams_ended_total{reason="stopping"}') == 0
    assert await rig.metric('mcp_sidecar_accepts_paused_total{listener="listen",reason="descriptors"}') == 0
    assert not await has("a_new_tool")
    rewrite(rig, {"scopes": {}, "tools": {"a_new_tool": {"scopes": []}}})
    assert await rig.sidecar.reload()
    assert await has("a_new_tool")
    rewrite(rig, "tools: [")
    assert not await rig.sidecar.reload()
    assert await rig.metric("mcp_sidecar_reload_failures_total") == 1


# --- reloading -----------------------------------------------------------------------------------


async def test_files_that_are_never_delivered_are_waited_for_no_longer_than_a_while(rig: Rig):
    """A pipe that is not written to stands for a mount that does not answer; one after the other is refused."""
    policy = rig.config.parent / "policy.yaml"
    before = policy.read_text()
    policy.unlink()
    os.mkfifo(policy)
    rig.sidecar.reloader.within = 0.2
    for _ in range(2):
        assert not await rig.sidecar.reload()
    problems = [line["problem"] for line in rig.log if line["event"] == "reload_failed"]
    assert problems == ["the files were not read in 0.2 s: does their mount answer?"] * 2
    assert (await rig.call("list_taxonomy")).status == 200
    stuck = os.open(policy, os.O_WRONLY)  # it comes back
    policy.unlink()
    policy.write_text(before)
    os.close(stuck)
    rig.sidecar.reloader.within = 20
    assert await rig.sidecar.reload()


def rewrite(rig: Rig, changed: Json | str) -> None:
    text = changed if isinstance(changed, str) else json.dumps(changed)
    (rig.config.parent / "policy.yaml").write_text(text)


def reconfigure(rig: Rig, **changes: Any) -> None:
    config = json.loads(rig.config.read_text())
    rig.config.write_text(json.dumps({**config, **changes}))


async def test_a_reload_serves_the_new_policy(rig: Rig):
    rewrite(rig, policy(tools={"list_taxonomy": {"confirm": {"argument": "sure", "inject": True}}}))
    before = await revision(rig)
    assert await rig.sidecar.reload() is True
    assert (await rig.call("list_taxonomy")).code == "confirmation_required"
    assert await revision(rig) != before
    assert events(rig, "reloaded")[0]["policy"] == await revision(rig)
    assert await rig.metric("mcp_sidecar_files_valid") == 1


async def revision(rig: Rig) -> str:
    series = [line for line in (await rig.metrics()).splitlines() if line.startswith("mcp_sidecar_policy_info{")]
    assert len(series) == 1
    return series[0].split('"')[1]


BROKEN = {
    "no yaml": "tools: [",
    "unknown key": json.dumps({**POLICY, "tolls": {}}),
    "duplicate": "tools:\n  a: {scopes: []}\n  a: {scopes: []}\n",
    "failing test": json.dumps(
        {**POLICY, "tests": [{"name": "wrong", "caller": {}, "call": {"tool": "get_usage"}, "expect": "allow"}]}
    ),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
async def test_a_bad_policy_keeps_the_old_one(rig: Rig, broken: str):
    before = await revision(rig)
    rewrite(rig, broken)
    assert await rig.sidecar.reload() is False
    line = events(rig, "reload_failed")[0]
    assert line["level"] == "error"
    assert re.search(r":[0-9]+:[0-9]+: ", line["problem"])
    assert await rig.metric("mcp_sidecar_files_valid") == 0
    assert await rig.metric("mcp_sidecar_last_reload_success") == 0
    assert await revision(rig) == before
    assert (await rig.call("list_taxonomy")).code is None
    rewrite(rig, POLICY)
    assert await rig.sidecar.reload() is True
    assert await rig.metric("mcp_sidecar_files_valid") == 1


async def test_the_log_names_the_file_that_is_wrong(rig: Rig):
    policies = rig.config.parent / "storeinspect-production-2026-11"
    policies.mkdir()
    (policies / "policy.yaml").write_text("tools: [")
    reconfigure(rig, policies=str(policies))
    assert await rig.sidecar.reload() is False
    assert f"{policies.name}/policy.yaml:1:" in events(rig, "reload_failed")[0]["problem"]


async def test_files_that_are_gone_keep_the_old_policy(rig: Rig):
    (rig.config.parent / "policy.yaml").unlink()
    assert await rig.sidecar.reload() is False
    rig.config.unlink()
    assert await rig.sidecar.reload() is False
    assert len(events(rig, "reload_failed")) >= 2
    assert (await rig.call("list_taxonomy")).code is None


async def test_settings_that_need_a_restart_are_refused_by_name(rig: Rig):
    reconfigure(rig, admin="127.0.0.1:1")
    assert await rig.sidecar.reload() is False
    assert "admin" in events(rig, "reload_failed")[0]["problem"]
    assert (await rig.call("list_taxonomy")).code is None


@pytest.mark.parametrize("text", ["", "# emptied\n", "tools:\n", "scopes: {s: A scope.}\n"])
async def test_an_emptied_policy_does_not_replace_a_whole_one(rig: Rig, text: str):
    before = await revision(rig)
    rewrite(rig, text)
    assert await rig.sidecar.reload() is False
    assert "policy.yaml" in events(rig, "reload_failed")[0]["problem"]
    assert await revision(rig) == before
    assert (await rig.call("list_taxonomy")).status == 200
    rewrite(rig, f"{text}\nempty: true\n" if text != "tools:\n" else "empty: true")
    assert await rig.sidecar.reload() is True
    assert (await rig.call("list_taxonomy")).code == "tool_unknown"


async def test_origins_and_limits_can_be_reloaded(rig: Rig):
    origin = {"Origin": "https://app.example"}
    assert (await rig.call("list_taxonomy", headers=origin)).status == 403
    reconfigure(rig, origins=["https://app.example"], limits={"body": "1KiB"})
    assert await rig.sidecar.reload() is True
    assert (await rig.call("list_taxonomy", headers=origin)).status == 200
    assert (await rig.call("list_taxonomy", {"x": "x" * 1024}, headers=origin)).status == 413


async def test_metrics_of_issuers_follow_a_reload(rig: Rig):
    assert await rig.metric('mcp_sidecar_keys_up{issuer="main"}') == 1
    asked = {"url": f"{rig.issuer.url}/introspect", "client_id": "a", "client_secret": "b"}
    reconfigure(rig, issuers=[{"issuer": rig.issuer.url, "id": "other", "introspection": asked}])
    assert await rig.sidecar.reload() is True
    shown = await rig.metrics()
    assert 'issuer="other"' in shown
    assert 'issuer="main"' not in shown, "alerts would go on about an issuer that is gone"
    assert await rig.metric('mcp_sidecar_introspections_total{outcome="active"}') == 0


async def test_a_reload_raises_the_limit_of_headers_for_new_connections(rig: Rig):
    long = {"X-Long": "a" * (32 << 10), "Connection": "close"}
    assert (await rig.call("list_taxonomy", headers=long)).status == 400
    reconfigure(rig, limits={"header": "64KiB"})
    assert await rig.sidecar.reload() is True
    assert (await rig.call("list_taxonomy", headers=long)).status == 200


async def test_a_call_ends_under_the_policy_it_began_with(rig: Rig):
    gate = asyncio.Event()
    rig.backend.rows = 2
    rig.backend.once(scripted.after(gate, scripted.default()))
    call = asyncio.create_task(rig.call("search_shopify_contacts", {"limit": 5}))
    await until(lambda: len(rig.backend.received) == 1)
    rewrite(rig, policy(tools={"search_shopify_contacts": {"spends": {"contact": 1}}}))
    assert await rig.sidecar.reload() is True
    gate.set()
    assert (await call).status == 200
    assert (await rig.books()).left() == 8


async def test_calls_go_on_while_files_are_reloaded(rig: Rig):
    async def reload() -> None:
        for number in range(5):
            rewrite(rig, policy(manage_url=f"https://example.com/{number}"))
            assert await rig.sidecar.reload()

    async def calls() -> None:
        for _ in range(20):
            assert (await rig.call("list_taxonomy")).code is None

    await asyncio.gather(reload(), calls())


# --- secrets -------------------------------------------------------------------------------------

CANARY = "sesame-canary-7Q9"


def refusals(rig: Rig) -> list[Any]:
    """Requests that are refused, each with a canary wherever a client can put one that must not be shown."""
    good = rig.issuer.mint(jti=CANARY, nonce_value=CANARY)
    hidden = {"Cookie": f"session={CANARY}", "X-Api-Key": CANARY, "Mcp-Param-Key": CANARY, "User-Agent": CANARY}
    reveal = contacts(CANARY, confirmed=False)
    return [
        rig.call("list_taxonomy", {"q": CANARY}, token=CANARY, headers=hidden),
        rig.call("list_taxonomy", {"q": CANARY}, token=f"{CANARY}.{CANARY}.{CANARY}", headers=hidden),
        rig.call("list_taxonomy", {"q": CANARY}, token=good[:-20] + "A" * 20, headers=hidden),
        rig.call("list_taxonomy", {"q": CANARY}, token=rig.issuer.mint(aud="other", jti=CANARY), headers=hidden),
        rig.call("list_taxonomy", {"q": CANARY}, token=rig.issuer.mint(iss="https://other.example", jti=CANARY)),
        rig.call(f"delete_{CANARY}", {"q": CANARY}, token=good, headers=hidden),
        rig.post(f"canary/{CANARY}", {"q": CANARY}, token=good, headers=hidden),
        rig.call("reveal_contacts", reveal, token=good, headers=hidden),
        rig.call("reveal_contacts", {**reveal, CANARY: CANARY}, token=good, headers=hidden),
        rig.call("search_shopify_stores", {"limit": CANARY}, token=good, headers=hidden),
        rig.call("list_taxonomy", token=good, revision=LEGACY, headers={**hidden, "Mcp-Session-Id": CANARY}),
        rig.call("list_taxonomy", token=good, headers={**hidden, "Mcp-Name": CANARY}),
        rig.call("list_taxonomy", token=good, headers={**hidden, "Host": f"{CANARY}.example"}),
        rig.call("list_taxonomy", token=good, headers={**hidden, "Origin": f"https://{CANARY}.example"}),
        rig.send(f'{{"{CANARY}":"{CANARY}"'.encode(), rig.request_headers({}, MODERN, good)),
        rig.request("POST", f"{rig.url}/{CANARY}?token={CANARY}", headers=hidden),
        rig.request("GET", f"{rig.url}?code={CANARY}", headers=rig.bare_headers(CANARY, good, hidden)),
    ]


async def test_refusals_show_no_secret(rig: Rig, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture):
    asked = refusals(rig)
    replies = [await each for each in asked]
    lines = await rig.recorded(len(asked))
    assert {reply.code for reply in replies} >= {"token_invalid", "tool_unknown", "method_not_allowed"}
    assert all(line["status"] == "refused" for line in lines)
    captured = capfd.readouterr()
    answers = [reply.body.decode() + str(dict(reply.headers)) for reply in replies]
    shown = [*answers, rig.lines.read_text(), await rig.metrics(), captured.out, captured.err, caplog.text]
    assert not [text for text in shown if CANARY in text]
    assert not rig.backend.received


async def test_the_backends_failures_show_no_secret(rig: Rig):
    rig.backend.once(
        scripted.http(500, CANARY.encode(), ("X-Error", CANARY)),
        scripted.http(401, b"{}", ("WWW-Authenticate", CANARY)),
        scripted.http(200, CANARY.encode()),
        scripted.http(302, b"", ("Location", f"https://example.com/?token={CANARY}")),
        scripted.raw(CANARY.encode() + b"\r\n\r\n"),
        scripted.result({"structuredContent": {"contacts": CANARY}, "content": []}),
    )
    replies = [await rig.call("reveal_contacts", contacts("a")) for _ in range(6)]
    assert [reply.status for reply in replies] == [502, 502, 502, 502, 502, 200]
    await rig.recorded(6)
    shown = [*(reply.body.decode() for reply in replies[:5]), rig.lines.read_text(), await rig.metrics()]
    assert not [text for text in shown if CANARY in text]


async def test_a_good_call_leaves_nothing_of_its_arguments_and_its_token(rig: Rig):
    token = rig.issuer.mint()
    await rig.call("reveal_contacts", contacts(CANARY), token=token)
    await rig.call("list_taxonomy", {"q": CANARY}, token=token, headers={"Cookie": CANARY})
    await rig.recorded(2)
    shown = rig.lines.read_text() + await rig.metrics()
    assert CANARY not in shown
    assert not any(part in shown for part in token.split(".")[1:])


async def test_the_line_of_a_call_says_all_that_the_contract_names(rig: Rig):
    await rig.call("reveal_contacts", contacts("a", "b"))
    (line,) = await rig.recorded()
    facts: Json = {
        "level": "info",
        "event": "call",
        "issuer": rig.issuer.url,
        "account": "ada",
        "client_id": "cli-1",
        "method": "tools/call",
        "tool": "reveal_contacts",
        "status": "ok",
        "code": "ok",
        "gate": None,
        "http_status": 200,
        "rows": 2,
        "credits": {"contact": 2},
        "plan": "growth",
        "scopes": "contacts:reveal contacts:search stores:read usage:read",
        "protocol": MODERN,
        "shadow": [],
    }
    assert {name: line[name] for name in facts} == facts
    assert {"ts", "request_id", "rule", "latency_ms", "backend_ms", "revision", "trace_id"} <= line.keys()
    assert line["rule"].rpartition(":")[2].isdigit()
    assert line["latency_ms"] >= line["backend_ms"] > 0


async def test_the_numbers_of_a_call(rig: Rig):
    rig.backend.contacts = ["a"]
    await rig.call("reveal_contacts", contacts("a", "b"))
    await rig.call("reveal_contacts", contacts("a", confirmed=False))
    await rig.call(f"undeclared_{CANARY}")
    await rig.recorded(3)
    call = 'method="tools/call",status="ok",tool="reveal_contacts"'
    assert await rig.metric(f'mcp_sidecar_requests_total{{code="ok",{call}}}') == 1
    other = 'code="tool_unknown",method="tools/call",status="refused",tool="_other"'
    assert await rig.metric(f"mcp_sidecar_requests_total{{{other}}}") == 1
    assert (
        await rig.metric('mcp_sidecar_refusals_total{code="confirmation_required",gate="policy",pool="",quota=""}') == 1
    )
    for name, value in (("reserved", 2), ("spent", 1), ("released", 1)):
        assert await rig.metric(f'mcp_sidecar_credits_{name}_total{{pool="contact"}}') == value
    assert await rig.metric("mcp_sidecar_open_holds") == 0
    assert await rig.metric("mcp_sidecar_in_flight") == 0


# --- what readiness says ---------------------------------------------------------------------------


async def test_a_backend_that_went_away_is_reported_and_leaves_the_sidecar_ready(rig: Rig):
    assert await rig.metric("mcp_sidecar_backend_up") == 1
    await rig.backend.stop()
    await until(lambda: bool(events(rig, "backend_unreachable")))
    line = events(rig, "backend_unreachable")[0]
    assert line["level"] == "warning"
    assert f"127.0.0.1:{rig.backend.port}" in line["problem"]
    status, body = await rig.ready()
    assert (status, body["ready"], body["checks"]["backend"]) == (200, True, line["problem"])
    assert await rig.metric("mcp_sidecar_backend_up") == 0
    assert await rig.metric("mcp_sidecar_backend_connected") == 1
    await rig.backend.start()
    await until(lambda: bool(events(rig, "backend_reachable")))
    assert (await rig.ready())[1]["checks"]["backend"] == "ok"
    assert await rig.metric("mcp_sidecar_backend_up") == 1
    assert not events(rig, "not_ready")


async def test_a_backend_that_has_just_answered_is_not_connected_to_again(rig: Rig):
    upstream = BackendPool(rig.backend.url)
    try:
        watch = BackendWatch(lambda: replace(rig.sidecar.pipeline.snapshot, upstream=upstream), Repeats(Lines(fd=1)))
        await upstream.probe()
        (await upstream.send(Outgoing("GET", ()))).close()
        connections = rig.backend.connections
        await watch.check()
        assert (watch.up, rig.backend.connections) == (True, connections)
    finally:
        upstream.close()


@pytest.mark.parametrize("how", ["a store that refuses", "an issuer that is away", "a backend that is away"])
async def test_readiness_gives_the_reason_that_the_log_gives_with_its_address(
    bare: Launch, fault_proxy: FaultProxy, own_server: StoreServer, how: str
):
    port = free_port()
    cases: dict[str, tuple[str, Json, str]] = {
        "a store that refuses": ("store", {"store_url": f"redis://127.0.0.1:{port}"}, f"127.0.0.1:{port}"),
        "an issuer that is away": (
            "keys",
            {"issuer": {"jwks_uri": f"http://127.0.0.1:{port}/jwks?key={CANARY}"}},
            f"http://127.0.0.1:{port}/jwks",
        ),
        "a backend that is away": (
            "backend",
            {"backend_url": f"http://127.0.0.1:{port}/mcp"},
            f"127.0.0.1:{port}",
        ),
    }
    check, options, address = cases[how]
    rig = await bare(ready=False, **options)
    await until(lambda: any(address in line["problem"] for line in events(rig, "not_ready")))
    said = (await lacks(rig))[check]
    assert address in said
    assert said in [line["problem"] for line in events(rig, "not_ready") if line["what"] == check]
    assert CANARY not in said


async def test_a_store_directory_that_cannot_be_written_is_named_by_readiness_as_by_the_log(
    bare: Launch, tmp_path: Path
):
    (tmp_path / "file").write_text("no folder")
    directory = str(tmp_path / "file" / "store")
    rig = await bare(ready=False, store={"url": "embedded", "directory": directory})
    await until(lambda: bool(events(rig, "store_unavailable")))
    problem = events(rig, "store_unavailable")[0]["problem"]
    assert problem.startswith("store.directory cannot be used")
    await until_lacking(rig, {"store"})
    assert (await lacks(rig))["store"] == problem
    await missed(rig, "store")
    assert {line["problem"] for line in events(rig, "not_ready") if line["what"] == "store"} <= {
        problem,
        f"{rig.sidecar.store.location}: not connected yet",
    }
    assert len(events(rig, "store_unavailable")) == 1, "it is tried again every second"
