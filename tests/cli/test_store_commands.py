"""Accounts, consents and credits, changed on a real server over the shipped scripts."""

import asyncio
from pathlib import Path

import pytest

from sidecar.management import operator_store
from sidecar.model import AdmissionCode, Application, Caller, Demand, Depth
from sidecar.store.commands import scripts
from sidecar.store.commands.keys import REVOKED_CHANNEL, account_keys
from sidecar.store.connection.resp import RespTransport
from sidecar.store.connection.store_connection import StoreConnection, UnansweredError
from sidecar.store.connection.store_url import parse_url
from sidecar.store.embedded.embedded_server import EmbeddedStore
from sidecar.workbench.loading import load
from tests.cli.support import CONFIG, TWO_ISSUERS, Run, write
from tests.support.store import StoreServer


@pytest.fixture(autouse=True)
def here(config: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(config.parent)
    return config.parent


def admit(server: StoreServer, tool: str, *demands: Demand, subject: str = "alice", call: str = "c1") -> AdmissionCode:
    """A sidecar admits a call of the client `app` for account `alice`."""
    terms = load(Path("config.yaml")).policy.tools[tool].terms
    caller = Caller("main", "https://i", subject, "alice", "app", frozenset({"read", "reveal"}), 0, 1)
    application = Application(call, "owner", caller, False, Depth.PRICE, terms, demands)

    async def ask() -> AdmissionCode:
        connection = StoreConnection(parse_url(server.url), prepare=operator_store.prepare)
        await connection.start()
        try:
            reply = await connection.call(*scripts.admit(application).words())
            return scripts.admitted(application, reply).code
        finally:
            await connection.close()

    return asyncio.run(ask())


# --- accounts ----------------------------------------------------------------------------------


def test_an_account_s_life(run: Run, here: Path, store_server: StoreServer) -> None:
    assert run("account", "list").out == "ACCOUNT  PLAN  STATUS  QUOTAS\n"
    refused = run("account", "set", "alice", "--plan", "growth")
    assert (refused.status, refused.out) == (1, "")
    assert "the store has no record of account alice (main): create one with --create" in refused.err
    assert run("account", "set", "alice", "--plan", "growth", "--create").out == "account alice (main): created\n"
    assert run("account", "set", "alice", "--status", "disabled").out == "account alice (main): changed\n"
    assert run("account", "show", "alice", "--format", "json").json == {
        "issuer": "main",
        "account": "alice",
        "plan": "growth",
        "status": "disabled",
        "quotas": {},
        "balances": {},
        "consents": 0,
        "all_clients_revoked": False,
    }
    assert "alice    growth  disabled" in run("account", "list").out
    assert "plan      growth" in run("account", "show", "alice").out
    keys = account_keys("main", "alice")
    with store_server.client() as client:
        for key in (keys.session("s"), keys.task("t")):
            client.hset(key, "consent", "x")
    output = run("account", "delete", "alice")
    with store_server.client() as client:
        assert not client.exists(keys.session("s"), keys.task("t"))
    assert "the account stays disabled until `account set --create`" in output.out
    assert run("account", "list", "--format", "json").json[0]["status"] == "deleted"
    assert run("account", "set", "alice", "--status", "active").status == 1
    assert run("account", "set", "alice", "--create").out == "account alice (main): created\n"
    assert run("account", "show", "alice", "--format", "json").json["status"] == "active"


def test_what_account_set_needs(run: Run) -> None:
    assert run("account", "set", "alice").status == 2
    result = run("account", "set", "alice", "--plan", "none", "--create")
    assert result.status == 2
    assert "there is no plan 'none': free, growth" in result.err
    assert run("account", "show", "alice").status == 1
    assert run("account", "delete", "alice").status == 1


def test_accounts_of_several_issuers_are_separate(run: Run, here: Path, store_server: StoreServer) -> None:
    write(
        here, config="\n".join([*CONFIG.splitlines()[:2], TWO_ISSUERS, CONFIG.splitlines()[3]]), store=store_server.url
    )
    result = run("account", "set", "alice", "--create")
    assert (result.status, result.out) == (2, "")
    assert "several issuers are configured: use --issuer with one of a, b" in result.err
    assert run("account", "set", "alice", "--create", "--issuer", "c").status == 2
    assert run("account", "set", "alice", "--create", "--issuer", "b").status == 0
    for words in (("account", "list"), ("consent", "list", "alice"), ("usage", "alice"), ("credits", "show", "alice")):
        assert run(*words).status == 2
        assert run(*words, "--issuer", "b").status == 0
    assert run("account", "list", "--issuer", "a", "--format", "json").json == []
    assert run("usage", "alice", "--issuer", "a").status == 1


def test_quotas_written_by_another_program_are_shown(run: Run, store_server: StoreServer) -> None:
    with store_server.client() as client:
        client.hset(account_keys("main", "alice").account, mapping={"plan": "growth", "quota:rows:month": "7"})
    output = run("account", "show", "alice", "--format", "json").json
    assert output["quotas"] == {"rows.month": 7}
    assert run("usage", "alice", "--format", "json").json["quotas"]["rows"]["month"]["limit"] == 7
    assert f"({account_keys('main', 'alice').digest})" in run("account", "list").out


# --- consents ----------------------------------------------------------------------------------


def test_a_consent_s_life(run: Run, store_server: StoreServer) -> None:
    url = "https://app.example.com/client"
    output = run("consent", "grant", "alice", url, "--subject", "anna", "--scopes", "read", "reveal")
    assert output.out == f"granted: client {url} of account alice (main), subject anna: a record was created\n"
    (listed,) = run("consent", "list", "alice", "--format", "json").json
    assert (listed["client_id"], listed["subject"], listed["status"]) == (url, "anna", "granted")
    assert listed["scopes"] == ["read", "reveal"]
    output = run("consent", "revoke", "alice", url)
    assert output.out == (
        f"revoked: client {url} of account alice (main), every subject: a record was created; "
        "1 consent of single subjects changed as well\n"
    )
    assert "the record was changed" in run("consent", "revoke", "alice", url, "--subject", "anna").out
    everyone, anna = run("consent", "list", "alice", url, "--format", "json").json
    assert (everyone["subject"], everyone["status"], anna["status"]) == (None, "revoked", "revoked")
    assert "(every subject)  revoked" in run("consent", "list", "alice").out
    assert run("consent", "list", "alice", "--subject", "bob", "--format", "json").json == []
    assert run("consent", "grant", "alice", url, "--format", "json").json["created"] is False


def test_scopes_of_a_consent_are_those_of_the_policy(run: Run) -> None:
    result = run("consent", "grant", "alice", "app", "--scopes", "read wirte")
    assert result.status == 2
    assert "there is no scope 'wirte': read, reveal" in result.err


def test_consents_decide_the_next_call(run: Run, store_server: StoreServer) -> None:
    assert admit(store_server, "search") is AdmissionCode.CONSENT_MISSING
    run("consent", "grant", "alice", "app")
    assert admit(store_server, "search") is AdmissionCode.ADMITTED
    assert admit(store_server, "search", subject="other") is AdmissionCode.ADMITTED
    run("consent", "revoke", "alice", "app", "--subject", "alice")
    assert admit(store_server, "search") is AdmissionCode.CONSENT_REVOKED
    assert admit(store_server, "search", subject="other") is AdmissionCode.ADMITTED
    run("consent", "revoke", "alice", "app")
    assert admit(store_server, "search", subject="other") is AdmissionCode.CONSENT_REVOKED
    run("account", "delete", "alice")
    assert admit(store_server, "search") is AdmissionCode.CONSENT_REVOKED
    run("consent", "grant", "alice", "app")
    assert admit(store_server, "search") is AdmissionCode.ACCOUNT_DISABLED
    run("account", "set", "alice", "--create")
    assert admit(store_server, "search") is AdmissionCode.ADMITTED


def test_a_revocation_reaches_every_sidecar_and_needs_no_policy(
    run: Run, here: Path, store_server: StoreServer
) -> None:
    (here / "policies" / "p.yaml").write_text("broken: [")
    with store_server.client() as client, client.pubsub() as channel:
        channel.subscribe(REVOKED_CHANNEL)
        assert channel.get_message(timeout=60)["type"] == "subscribe"
        assert run("consent", "revoke", "alice", "app").status == 0
        message = channel.get_message(timeout=60)
        assert message["data"].split()[0] == account_keys("main", "alice").digest
    assert run("credits", "grant", "alice", "contact", "1").status == 1


# --- credits and usage -------------------------------------------------------------------------


def test_credits(run: Run) -> None:
    refused = run("credits", "grant", "alice", "contact", "10")
    assert refused.status == 1
    assert "create one with --create" in refused.err
    output = run("credits", "grant", "alice", "contact", "10", "--create")
    assert output.out == "account alice (main): granted 10 contact: the balance is 10; a record was created\n"
    run("account", "set", "alice", "--plan", "growth")
    output = run("credits", "spend", "alice", "contact", "5")
    assert output.out == "account alice (main): spent 5 contact (3 of them included in the plan): the balance is 8\n"
    output = run("credits", "spend", "alice", "contact", "9")
    assert (output.status, output.out) == (1, "")
    assert "has too few contact credits: the balance is 8" in output.err
    assert run("credits", "set", "alice", "contact", "2", "--format", "json").json["balance"] == 2
    shown = run("credits", "show", "alice", "--format", "json").json
    assert shown["contact"]["left"] == 2
    assert shown["contact"]["included"]["used"] == 3
    assert shown["email"] == {"left": 0, "balance": 0, "held": 0}
    assert run("credits", "show", "alice", "email").out == "email: 0 left; balance 0\n"
    assert run("credits", "grant", "alice", "contact", "9007199254740991").status == 1


def test_pools_that_do_not_exist_are_2(run: Run) -> None:
    for words in (("show", "alice", "nome"), ("grant", "alice", "nome", "1"), ("spend", "alice", "nome", "1")):
        result = run("credits", *words)
        assert result.status == 2
        assert "there is no pool of credits 'nome': contact, email" in result.err


def test_usage_shows_windows_balances_and_holds(run: Run, store_server: StoreServer) -> None:
    assert run("usage", "alice").status == 1
    run("credits", "grant", "alice", "contact", "10", "--create")
    run("account", "set", "alice", "--plan", "growth")
    run("consent", "grant", "alice", "app")
    policy = load(Path("config.yaml")).policy
    demands = tuple(
        Demand(amount.kind, amount.name, 5, None if amount.name == "requests" else tuple("abcde"))
        for amount in policy.tools["reveal"].prices.amounts[:2]
    )
    assert admit(store_server, "reveal", *demands) is AdmissionCode.ADMITTED
    output = run("usage", "alice", "--format", "json").json
    assert (output["plan"], output["status"], output["known"]) == ("growth", "active", True)
    assert output["quotas"]["requests"]["minute"]["limit"] == 60
    assert output["quotas"]["requests"]["day"]["used"] == 5  # the minute may end meanwhile
    assert output["credits"]["contact"]["held"] == 2
    assert output["credits"]["contact"]["left"] == 8
    (hold,) = output["holds"]
    assert (hold["call"], hold["client_id"], hold["on_unknown"]) == ("c1", "app", "release")
    assert 0 < hold["lease_seconds"] <= 120
    text = run("usage", "alice").out
    assert "quota    requests per day: 5 of 5000 used, 4995 left, resets in" in text
    assert (
        "credits  contact: 8 left; balance 8, 2 of it held by calls in flight; included 3 of 3 used per month" in text
    )
    assert "hold     c1 of client app: 5 requests, 5 contact credits; release in" in text


def test_an_account_without_a_record_is_shown_when_it_has_used_something(run: Run, store_server: StoreServer) -> None:
    run("consent", "grant", "alice", "app")
    quota = load(Path("config.yaml")).policy.tools["search"].prices.amounts[0]
    assert admit(store_server, "search", Demand(quota.kind, quota.name, 1)) is AdmissionCode.ADMITTED
    result = run("usage", "alice")
    assert result.status == 0
    assert result.out.startswith("account alice (main): plan free, active; it has no record of its own\n")


# --- stores ------------------------------------------------------------------------------------


def test_the_embedded_store_is_kept_between_commands(run: Run, here: Path) -> None:
    write(here, store="embedded")
    assert run("credits", "grant", "alice", "contact", "7", "--create").status == 0
    assert run("credits", "show", "alice", "contact").out == "contact: 7 left; balance 7\n"
    assert not (here / "var/store/store.sock").exists() or run("account", "list").status == 0


def test_the_embedded_store_is_shared_with_a_live_sidecar(run: Run, here: Path) -> None:
    write(here, store="embedded")
    sidecar = EmbeddedStore(here / "var/store")
    sidecar.enter()
    try:
        assert run("credits", "grant", "alice", "contact", "7", "--create").status == 0
        assert sidecar._child is not None
        assert sidecar._child.poll() is None
    finally:
        sidecar.leave()
    assert run("credits", "show", "alice", "contact", "--format", "json").json["contact"]["balance"] == 7


@pytest.mark.parametrize("url", ["unix:///nowhere/at.sock", "redis://:hunter2@127.0.0.1:1"])
@pytest.mark.parametrize(
    "words",
    [
        ("account", "list"),
        ("usage", "a"),
        ("credits", "set", "a", "contact", "1"),
        ("consent", "revoke", "a", "b"),
    ],
    ids=" ".join,
)
def test_a_store_that_cannot_be_reached(run: Run, here: Path, url: str, words: tuple[str, ...]) -> None:
    write(here, store=url)
    result = run(*words)
    assert (result.status, result.out) == (1, "")
    assert result.err.startswith("mcp-sidecar: store: ")
    assert result.err.count("\n") == 1
    assert "hunter2" not in result.err


def test_a_store_with_the_wrong_password(run: Run, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = StoreServer(options=("--requirepass", "right")).start()
    try:
        write(here, store=f"unix://:hunter2@{server.path}")
        result = run("account", "list")
        assert result.status == 1
        assert "hunter2" not in result.err
        write(here, store=f"unix://:right@{server.path}")
        assert run("account", "list").status == 0
    finally:
        server.close()


def test_scripts_that_were_flushed_are_loaded_again(run: Run, store_server: StoreServer, monkeypatch) -> None:
    inspect = operator_store.OperatorStore.run

    async def flushed(self, command):
        with store_server.client() as client:
            client.script_flush()
        return await inspect(self, command)

    monkeypatch.setattr(operator_store.OperatorStore, "run", flushed)
    assert run("credits", "grant", "alice", "contact", "1", "--create").status == 0


def test_an_answer_that_is_lost_is_asked_for_again_and_nothing_is_done_twice(
    run: Run, here: Path, store_server: StoreServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: list[object] = []
    write = RespTransport.write

    def losing(self, command, reply, now=True):
        if b"EVALSHA" in command and not lost:
            lost.append(command)
            waiting, reply = reply, asyncio.get_running_loop().create_future()
            reply.add_done_callback(lambda _: waiting.set_exception(UnansweredError("the reply was lost")))
        write(self, command, reply, now)

    monkeypatch.setattr(RespTransport, "write", losing)
    assert run("credits", "grant", "alice", "contact", "5", "--create").status == 0
    assert lost
    assert run("credits", "show", "alice", "contact", "--format", "json").json["contact"]["balance"] == 5
