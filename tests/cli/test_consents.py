"""Consents of all clients of an account, and of one client in all accounts, by command on a real server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sidecar.cli import consent_accounts
from sidecar.cli.consent_lists import by_host
from sidecar.management import operator_store
from sidecar.management.consent_records import host_of
from sidecar.model import AdmissionCode, Application, Caller, Depth
from sidecar.store.commands import scripts, shipped
from sidecar.store.commands.keys import REVOKED_CHANNEL, account_keys
from sidecar.store.connection.resp import RespTransport
from sidecar.store.connection.store_connection import StoreConnection, UnansweredError
from sidecar.store.connection.store_url import parse_url
from sidecar.terms import ConsentMode, PlanTerms, Terms
from tests.cli.support import CONFIG, TWO_ISSUERS, Run, write
from tests.support.store import StoreServer

APP, OTHER = "https://client.example/app.json", "https://client.example/other.json"
REVOKED, ADMITTED = AdmissionCode.CONSENT_REVOKED, AdmissionCode.ADMITTED


@pytest.fixture(autouse=True)
def here(config: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(config.parent)
    return config.parent


def first_use(server: StoreServer, *clients: str, account: str = "alice") -> list[AdmissionCode]:
    """A sidecar admits a call of each client under `first_use`."""
    terms = Terms(ConsentMode.FIRST_USE, None, None, PlanTerms(True))

    async def ask() -> list[AdmissionCode]:
        connection = StoreConnection(parse_url(server.url), prepare=operator_store.prepare)
        await connection.start()
        try:
            codes = []
            for client in clients:
                caller = Caller("main", "https://i", account, account, client, frozenset(), 0, 1)
                asked = Application(f"c-{client}", "owner", caller, False, Depth.PLAN, terms, ())
                codes.append(scripts.admitted(asked, await connection.call(*scripts.admit(asked).words())).code)
            return codes
        finally:
            await connection.close()

    return asyncio.run(ask())


# --- all clients of an account -----------------------------------------------------------------


def test_all_clients_are_revoked_until_they_are_granted_or_all_is_lifted(run: Run, store_server: StoreServer) -> None:
    assert first_use(store_server, "app", APP) == [ADMITTED] * 2
    output = run("consent", "revoke", "alice", "--all")
    assert output.out.splitlines()[0] == (
        "revoked: every client of account alice (main), also clients without a record: a record was created; "
        "2 consents revoked"
    )
    assert first_use(store_server, "app", APP, "again") == [REVOKED] * 3
    listed = run("consent", "list", "alice", "--format", "json").json
    assert [(each["client_id"], each["host"], each["status"], each["all_clients"]) for each in listed] == [
        (None, None, "revoked", True),
        ("app", None, "revoked", False),
        (APP, "client.example", "revoked", False),
    ]
    granted = run("consent", "grant", "alice", "again").out
    assert "all other clients of the account stay revoked" in granted
    assert first_use(store_server, "again", "third") == [ADMITTED, REVOKED]
    lifted = run("consent", "grant", "alice", "--all")
    assert "lifted: new clients of account alice (main) are let in" in lifted.out
    assert "revoked clients stay revoked" in lifted.out
    assert first_use(store_server, "app", "again", "third") == [REVOKED, ADMITTED, ADMITTED]
    assert "nothing to lift" in run("consent", "grant", "alice", "--all").out
    assert "stay revoked" not in run("consent", "grant", "alice", "app").out


def test_lifting_lets_no_client_in_that_a_record_written_directly_has_revoked(
    run: Run, store_server: StoreServer
) -> None:
    assert first_use(store_server, "app") == [ADMITTED]
    with store_server.client() as client:
        client.hset(account_keys("main", "alice").revocation, mapping={"status": "revoked"})
    assert first_use(store_server, "app") == [REVOKED]
    assert run("consent", "grant", "alice", "--all", "--format", "json").json == {
        "done": "lifted",
        "issuer": "main",
        "account": "alice",
        "lifted": True,
        "revoked": 1,
    }
    assert first_use(store_server, "app", "new") == [REVOKED, ADMITTED]


def test_the_revocation_of_all_is_shown_kept_and_published(
    run: Run, here: Path, store_server: StoreServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("account", "set", "alice", "--plan", "growth", "--create")
    (here / "policies" / "p.yaml").write_text("broken: [")
    monkeypatch.setattr("sidecar.management.consent_records.BATCH", 2)
    assert first_use(store_server, "a", "b", "c") == [ADMITTED] * 3
    with store_server.client() as client, client.pubsub() as channel:
        channel.subscribe(REVOKED_CHANNEL)
        assert channel.get_message(timeout=60)["type"] == "subscribe"
        revoked = run("consent", "revoke", "alice", "--all", "--format", "json").json
        assert channel.get_message(timeout=60)["data"] == f"{account_keys('main', 'alice').digest} *"
    assert (revoked["created"], revoked["revoked"]) == (True, 3)
    repeated = run("consent", "revoke", "alice", "--all", "--format", "json").json
    assert (repeated["created"], repeated["revoked"]) == (False, 0)
    assert "consents  3; all clients are revoked" in run("account", "show", "alice").out
    assert run("account", "show", "alice", "--format", "json").json["all_clients_revoked"] is True
    assert "(every client)" in run("consent", "list", "alice").out
    run("account", "delete", "alice")
    assert first_use(store_server, "new") == [REVOKED]


# --- one client in all accounts ----------------------------------------------------------------


def test_a_client_is_listed_and_revoked_in_every_account_that_has_a_record(run: Run, store_server: StoreServer) -> None:
    run("consent", "grant", "alice", APP)
    run("consent", "grant", "bob", APP, "--subject", "s1")
    run("consent", "grant", "bob", APP, "--subject", "s2")
    run("consent", "grant", "carl", OTHER)
    run("consent", "revoke", "dora", APP)
    listed = run("consent", "list", "--client", APP, "--format", "json").json
    assert [(each["account"], each["subject"], each["status"]) for each in listed] == [
        ("alice", None, "granted"),
        ("bob", "s1", "granted"),
        ("bob", "s2", "granted"),
        ("dora", None, "revoked"),
    ]
    assert run("consent", "list", "--client", APP, "--subject", "s2").out.splitlines()[1].startswith("bob")
    done = run("consent", "revoke", "--client", APP, "--all-accounts", "--format", "json")
    assert (done.status, done.json["accounts"], done.json["already_revoked"]) == (0, ["alice", "bob"], ["dora"])
    listed = run("consent", "list", "--client", APP, "--format", "json").json
    assert {each["status"] for each in listed} == {"revoked"}
    assert first_use(store_server, APP, account="bob") == [REVOKED]
    assert first_use(store_server, OTHER, account="carl") == [ADMITTED]
    again = run("consent", "revoke", "--client", APP, "--all-accounts")
    assert again.status == 0
    assert again.out.startswith("0 accounts changed, 3 had it revoked already, 0 failed")


def test_a_client_without_any_record_is_1(run: Run) -> None:
    run("consent", "grant", "alice", APP)
    result = run("consent", "revoke", "--client", "nope", "--all-accounts")
    assert result.status == 1
    assert result.out == "no account of issuer main has a record of client nope: nothing was changed\n"


def test_clients_of_another_issuer_are_not_touched(run: Run, here: Path, store_server: StoreServer) -> None:
    write(
        here, config="\n".join([*CONFIG.splitlines()[:2], TWO_ISSUERS, CONFIG.splitlines()[3]]), store=store_server.url
    )
    for issuer in ("a", "b"):
        run("consent", "grant", "alice", "app", "--issuer", issuer)
    assert run("consent", "revoke", "--client", "app", "--all-accounts").status == 2
    assert run("consent", "revoke", "--client", "app", "--all-accounts", "--issuer", "b").status == 0
    (kept,) = run("consent", "list", "--client", "app", "--issuer", "a", "--format", "json").json
    assert kept["status"] == "granted"


def test_records_that_do_not_name_their_account_are_reported(run: Run, store_server: StoreServer) -> None:
    run("consent", "grant", "alice", "app")
    nameless = account_keys("main", "bob").client("app")
    with store_server.client() as client:
        client.hset(nameless, mapping={"status": "granted", "client_id": "app"})
        client.rpush(account_keys("main", "carl").client("app"), "x")
        client.hset("mcp:{x}:consent:y", "status", "granted")
    for words in (("revoke", "--client", "app", "--all-accounts"), ("list", "--client", "app")):
        result = run("consent", *words)
        assert result.status == 1
        assert "alice" in result.out
        assert result.err.count("does not name its issuer, account and client") == 2
        assert nameless in result.err


def test_a_run_that_was_interrupted_says_how_far_it_came_and_can_be_repeated(
    run: Run, store_server: StoreServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        run("consent", "grant", f"a{number}", "app")
    write, sent = RespTransport.write, []

    def failing(self, command, reply, now=True):
        if b"EVALSHA" in command and shipped.REVOKE.sha.encode() in command:
            sent.append(command)
            if len(sent) > 2:
                raise UnansweredError("the reply was lost")
        write(self, command, reply, now)

    monkeypatch.setattr(RespTransport, "write", failing)
    stopped = run("consent", "revoke", "--client", "app", "--all-accounts")
    assert (stopped.status, stopped.out) == (1, "")
    assert "the client is revoked in 2 accounts so far: run the command again" in stopped.err
    monkeypatch.setattr(RespTransport, "write", write)
    done = run("consent", "revoke", "--client", "app", "--all-accounts", "--format", "json").json
    assert (len(done["accounts"]), len(done["already_revoked"])) == (3, 2)


def test_progress_is_reported_on_stderr(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consent_accounts, "_PROGRESS_EVERY", 2)
    for number in range(5):
        run("consent", "grant", f"a{number}", "app", "--subject", "s")
    result = run("consent", "list", "--client", "app", "--format", "json")
    assert len(result.json) == 5
    assert "5 records read, 0 of this client" in result.err


# --- unknown clients, hosts and command lines ---------------------------------------------------


def test_the_revocation_of_an_unknown_client_says_so_and_names_the_known_ones(run: Run) -> None:
    assert "nor of any other client" in run("consent", "revoke", "alice", "ap").out
    run("consent", "grant", "alice", "app")
    run("consent", "grant", "alice", OTHER, "--subject", "s")
    run("consent", "grant", "alice", APP)
    result = run("consent", "revoke", "alice", "aap")
    assert result.status == 0
    assert result.out == (
        "revoked: client aap of account alice (main), every subject: a record was created\n"
        "the account had no record of client aap: check the name; it has records of\n"
        f"  ap\n  app\n  client.example:\n    {APP}\n    {OTHER}\n"
    )
    unknown = run("consent", "revoke", "alice", "bad", "--subject", "s", "--format", "json").json
    assert (unknown["known"], unknown["created"]) == (False, True)
    document = run("consent", "revoke", "alice", OTHER, "--subject", "t", "--format", "json").json
    assert document["known"] is True
    assert document["known_clients"] == [
        {"host": None, "clients": ["aap", "ap", "app", "bad"]},
        {"host": "client.example", "clients": [APP, OTHER]},
    ]


def test_lists_group_client_metadata_documents_by_host(run: Run) -> None:
    for client in ("https://z.example/a", APP, "zeta", OTHER):
        run("consent", "grant", "alice", client)
    first_column = [line.split("  (")[0].rstrip() for line in run("consent", "list", "alice").out.splitlines()[1:]]
    assert [line.split("   ")[0] for line in first_column] == [
        "zeta",
        "client.example:",
        f"  {APP}",
        f"  {OTHER}",
        "z.example:",
        "  https://z.example/a",
    ]


@pytest.mark.parametrize(("client", "host"), [
    (APP, "client.example"),
    ("https://Client.Example:8443/a", "client.example:8443"),
    ("https://client.example@evil.example/a", "evil.example"),
    ("https://[::1]/a", "::1"),
    ("https://[broken/a", None),
    ("https://host:port/a", None),
    ("https:///a", None),
    ("http://client.example/a", None),
    ("app", None),
    (None, None),
])  # fmt: skip
def test_the_host_of_a_client_is_that_of_its_https_url(client: str | None, host: str | None) -> None:
    assert host_of(client) == host


def test_clients_without_a_host_come_first() -> None:
    assert by_host([APP, "b", "a"]) == [
        {"host": None, "clients": ["a", "b"]},
        {"host": "client.example", "clients": [APP]},
    ]


@pytest.mark.parametrize("line", [
    "list",
    "list alice --client app",
    "list --all-accounts",
    "grant alice",
    "grant alice app --all",
    "grant alice --all --subject s",
    "grant alice --all --scopes read",
    "revoke alice",
    "revoke --all",
    "revoke alice app --all",
    "revoke alice --all --subject s",
    "revoke --client app",
    "revoke alice --client app --all-accounts",
    "revoke alice --all-accounts",
    "revoke --client app --all-accounts --subject s",
])  # fmt: skip
def test_command_lines_that_mix_forms_are_2(run: Run, store_server: StoreServer, line: str) -> None:
    result = run("consent", *line.split())
    assert (result.status, result.out) == (2, "")
    assert result.err.startswith("usage: mcp-sidecar consent")
    with store_server.client() as client:
        assert client.dbsize() == 0
