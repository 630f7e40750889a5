"""The shipped scripts on a real server: their codes and headers, and what only a server can show."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import redis

from sidecar.ledger.windows import window_at
from sidecar.model import MAX_AMOUNT, AdmissionCode, AdmissionReply, Application
from sidecar.outcome import Charge, Receipt
from sidecar.store.commands import bindings, changes, keys, scripts, shipped
from sidecar.store.commands.changes import CreditChange
from sidecar.store.commands.command import ChangeCode, Command, Script, Scripts
from sidecar.terms import ConsentMode
from sidecar.window_rules import WINDOWS
from tests.store.support import CALLER, GROWTH, KEYS, NOW, TERMS, RealLedger, application, demand, head_of, reveal
from tests.support.store import StoreServer, free_port


@pytest.fixture
def ledger(store_server: StoreServer) -> Iterator[RealLedger]:
    with RealLedger.of_account(store_server) as real:
        yield real


def _admit(ledger: RealLedger, asked: Application) -> AdmissionReply:
    return ledger.admit(asked)


def _credits(ledger: RealLedger, verb: str, amount: int, operation: str, **more: Any) -> CreditChange:
    command = changes.change_credits("main", "acme", verb, "contact", amount, operation=operation, **more)
    return changes.credited(ledger.run(command))


# --- what is written in the files ----------------------------------------------------------------


def test_the_module_implements_the_interface_of_the_store():
    wanted: Scripts = scripts
    assert {script.name for script in wanted.scripts} >= {"admit", "resolve", "revoke"}


@pytest.mark.parametrize("script", scripts.scripts, ids=lambda script: script.name)
def test_every_script_has_a_header_with_keys_arguments_and_reply(script: Script):
    lines = script.source.splitlines()
    assert re.fullmatch(r"#!lua( flags=(allow-oom|no-writes))?", lines[0])
    header = "\n".join(lines[1 : next(i for i, line in enumerate(lines) if i and not line.startswith("--"))])
    assert "KEYS" in header
    assert "Returns" in header
    assert ("ARGV" in header) == ("ARGV[" in script.source)
    assert "-- include" not in script.source
    assert "-- generate" not in script.source


def test_only_scripts_that_revoke_access_or_resolve_holds_may_write_when_memory_is_short():
    allowed = {script.name for script in scripts.scripts if "allow-oom" in script.source.splitlines()[0]}
    withdrawing = {"revoke", "revoke_all", "forget", "account_delete"}
    assert allowed == withdrawing | {"resolve", "defer", "recall", "sweep", "stream_key"}


def test_limits_in_both_languages_are_equal():
    assert f"'EXPIRE', KEYS[i], {bindings.BINDING_LIFE}, 'GT')" in shipped.ADMIT.source


def test_a_call_without_a_price_reads_consent_and_account_only(ledger: RealLedger):
    ledger.client.config_resetstat()
    assert _admit(ledger, application()).code is AdmissionCode.ADMITTED
    ran = {name: each["calls"] for name, each in ledger.client.info("commandstats").items() if "config" not in name}
    assert ran == {"cmdstat_fcall": 1, "cmdstat_exists": 1, "cmdstat_hmget": 2}


def test_a_usual_admission_has_the_words_of_any_other():
    for demands in ((), (demand("contact", 6),)):
        usual, bound = scripts.admit(application("c", *demands)), scripts.admit(application("c", *demands, session="s"))
        assert usual.keys == bound.keys[: len(usual.keys)]
        differing = [each for each in zip(usual.arguments, bound.arguments, strict=True) if each[0] != each[1]]
        assert differing == [("0", "1")], "only the words that say whether there is a session"


def test_windows_are_those_of_the_model(store_server: StoreServer):
    moments = [0, 951_782_399, 951_782_400, 4_107_542_400, *range(1_600_000_000, 4_200_000_000, 7_654_321)]
    clock = head_of(shipped.SWEEP, "local count_resolved")
    body = "local all = {}\nfor i, at in ipairs(ARGV) do all[i] = {window_at(KEYS[1], tonumber(at))} end\nreturn all"
    with store_server.client() as client:
        for window in WINDOWS:
            found = client.eval(clock + body, 1, window, *moments)
            assert [tuple(each) for each in found] == [window_at(window, at * 1000) for at in moments]


# --- money -----------------------------------------------------------------------------------------


def test_the_largest_amounts_stay_exact(ledger: RealLedger):
    assert _credits(ledger, "set", MAX_AMOUNT, "o1").balance == MAX_AMOUNT
    assert _credits(ledger, "grant", 1, "o2") == CreditChange(ChangeCode.TOO_MUCH, MAX_AMOUNT, 0)
    asked = application("c", demand("contact", MAX_AMOUNT), demand("other", MAX_AMOUNT))
    admission = _admit(ledger, asked)
    assert admission.held
    assert [price.needed for price in admission.prices] == [MAX_AMOUNT, MAX_AMOUNT]
    assert ledger.state().balances == {"contact": 4}
    receipt = scripts.receipt(ledger.run(scripts.settle(asked, None)))
    assert receipt == Receipt({"contact": MAX_AMOUNT}, {"other": MAX_AMOUNT})
    assert ledger.state().totals == {"contact": 4}


def test_many_items_fit(ledger: RealLedger):
    items = tuple(f"item-{number}" for number in range(9_000))
    _credits(ledger, "set", 9_000, "o")
    asked = application("c", reveal(*items))
    assert _admit(ledger, asked).prices[0].needed == 9_000
    assert scripts.receipt(ledger.run(scripts.settle(asked, None))).paid == {"contact": 9_000}
    assert _admit(ledger, application("c2", reveal(*items, "new"))).prices[0].needed == 1


def test_a_release_before_its_admission_keeps_it_out(ledger: RealLedger):
    asked = application("c", demand("contact"))
    assert scripts.receipt(ledger.run(scripts.release(asked))).late
    assert _admit(ledger, asked) == AdmissionReply(AdmissionCode.RESOLVED_ALREADY)
    assert 0 < ledger.client.pttl(KEYS.outcome("c")) <= asked.lease


def test_a_resolved_call_is_journaled_with_its_balance(ledger: RealLedger):
    _credits(ledger, "grant", 10, "o")
    asked = application("c", demand("contact", 6), demand("requests", fixed=True))
    _admit(ledger, asked)
    ledger.run(scripts.settle(asked, None))
    ledger.run(scripts.settle(asked, None))
    ledger.run(scripts.settle(application("never"), None))
    entries = [fields for _, fields in ledger.client.xrange(KEYS.usage)]
    assert [entry["event"] for entry in entries] == ["consent_granted", "grant", "settled", "late"]
    assert entries[2] == {
        "n": "3",
        "event": "settled",
        "call": "c",
        "client": CALLER.client_id,
        "tool": "reveal",
        "subject": "ann",
        "credit:contact": "6",
        "change:contact": "-2",
        "total:contact": "8",
        "windows:included:contact": f"month:{window_at('month', NOW)[0]}",
        "quota:requests": "1",
        "windows:quota:requests": f"minute:{window_at('minute', NOW)[0]}",
    }


def test_a_change_of_a_balance_given_twice_happens_once(ledger: RealLedger):
    first = _credits(ledger, "grant", 5, "o")
    assert _credits(ledger, "grant", 5, "o") == first == CreditChange(ChangeCode.DONE, 5, 0)
    assert _credits(ledger, "spend", 7, "o2", included=("month", 4)) == CreditChange(ChangeCode.DONE, 2, 4)
    assert _credits(ledger, "spend", 3, "o3", included=("month", 4)) == CreditChange(ChangeCode.TOO_LITTLE, 2, 0)


def test_accounts_that_are_not_known_need_to_be_created(ledger: RealLedger):
    ledger.client.delete(KEYS.account)
    assert _credits(ledger, "grant", 5, "o").code is ChangeCode.UNKNOWN
    assert ledger.run(changes.set_account("main", "acme", plan="free")) == ChangeCode.UNKNOWN
    assert _credits(ledger, "grant", 5, "o", create=True).code is ChangeCode.CREATED
    assert ledger.client.hgetall(KEYS.account) == {"issuer": "main", "account": "acme"}


def test_expired_holds_are_released_before_the_next_call_reserves(ledger: RealLedger):
    _credits(ledger, "grant", 5, "o")
    _admit(ledger, application("dead", demand("contact", 7), demand("rows", 50)))
    ledger.set_clock(NOW + 120_000)
    answer = _admit(ledger, application("next", demand("contact", 6), demand("rows", 50)))
    assert [price.left for price in answer.prices] == [9, 60]
    state = ledger.state()
    assert (state.balances, state.totals, set(state.holds)) == ({"contact": 3}, {"contact": 5}, {"next"})
    assert state.included["contact", "month"].used == 4
    assert state.quotas["rows", "month"].used == 50


def test_credits_are_capped_at_the_reserve_and_rows_are_not(ledger: RealLedger):
    _credits(ledger, "grant", 50, "o")
    asked = application("c", demand("contact", 6), demand("rows", 5))
    _admit(ledger, asked)
    receipt = scripts.receipt(ledger.run(scripts.settle(asked, [Charge(99), Charge(99)])))
    assert receipt == Receipt({"contact": 6}, {"rows": 99})
    assert ledger.state().balances == {"contact": 48}


def test_an_inspection_is_the_whole_account(ledger: RealLedger):
    _credits(ledger, "grant", 5, "o")
    _admit(ledger, application("c", demand("contact", 6)))
    seen = changes.inspected(ledger.run(changes.inspect(KEYS)))
    assert (seen.now, seen.known) == (NOW, True)
    assert seen.state == replace(ledger.state(), consents={}, clients={})
    assert seen.state.held("contact") == 2


# --- access ------------------------------------------------------------------------------------------


def test_a_first_use_is_written_with_clear_names(ledger: RealLedger):
    key = KEYS.consent("ann", CALLER.client_id)
    ledger.client.delete(key)
    assert _admit(ledger, application(terms=replace(TERMS, consent=ConsentMode.FIRST_USE))).code == 0
    assert ledger.client.hgetall(key) == {
        "status": "granted",
        "at": f"{NOW / 1000:.3f}",
        "issuer": "main",
        "account": "acme",
        "subject": "ann",
        "client_id": CALLER.client_id,
    }


@pytest.mark.parametrize("record", [{"status": "Granted"}, {"status": ""}, {"client_id": "c"}, {"at": "1"}])
@pytest.mark.parametrize("mode", ConsentMode)
def test_a_record_written_wrongly_denies(ledger: RealLedger, record: dict[str, str], mode: ConsentMode):
    key = KEYS.consent("ann", CALLER.client_id)
    ledger.client.delete(key)
    ledger.client.hset(key, mapping=record)
    asked = application(terms=replace(TERMS, consent=mode))
    assert _admit(ledger, asked).code is AdmissionCode.CONSENT_REVOKED


@pytest.mark.parametrize("at", ["soon", "nan", "inf", "-1", "", "0x7fffffff", "9" * 13, "9" * 400])
def test_a_consent_that_does_not_say_when_never_outlives_a_revocation_for_all(ledger: RealLedger, at: str):
    ledger.run(changes.revoke("main", "acme", None, CALLER.client_id))
    ledger.client.hset(KEYS.consent("ann", CALLER.client_id), "at", at)
    assert _admit(ledger, application()).code is AdmissionCode.CONSENT_REVOKED


def test_a_grant_cures_a_revocation_for_all_even_on_a_clock_that_went_back(ledger: RealLedger):
    ledger.run(changes.revoke("main", "acme", None, CALLER.client_id))
    ledger.set_clock(NOW - 60_000)
    ledger.run(changes.grant("main", "acme", "ann", CALLER.client_id))
    assert _admit(ledger, application()).code is AdmissionCode.ADMITTED


@pytest.mark.parametrize("at", ["inf", "1e300", "nan", "9" * 400, "-5"])
def test_a_grant_says_when_whatever_the_record_for_all_says(ledger: RealLedger, at: str):
    ledger.client.hset(KEYS.client(CALLER.client_id), mapping={"status": "granted", "at": at})
    ledger.run(changes.grant("main", "acme", "ann", CALLER.client_id))
    assert ledger.client.hget(KEYS.consent("ann", CALLER.client_id), "at") == f"{NOW / 1000:.3f}"


def test_a_revocation_is_published_to_every_sidecar(ledger: RealLedger):
    listener = ledger.client.pubsub(ignore_subscribe_messages=True)
    listener.subscribe(keys.REVOKED_CHANNEL)
    listener.get_message(timeout=60)
    ledger.run(changes.revoke("main", "acme", "ann", CALLER.client_id))
    ledger.run(changes.revoke("main", "acme", None, CALLER.client_id))
    heard: list[str] = []
    deadline = time.monotonic() + 60
    while len(heard) < 2 and time.monotonic() < deadline:
        message = listener.get_message(timeout=0.2)
        heard += [message["data"]] if message else []
    listener.close()
    assert heard == [
        f"{KEYS.digest} {keys.consent_digest('ann', CALLER.client_id)}",
        f"{KEYS.digest} {keys.client_digest(CALLER.client_id)}",
    ]


def test_a_session_belongs_to_its_caller_and_lives_while_it_is_used(ledger: RealLedger):
    bob = replace(CALLER, subject="bob")
    key = KEYS.session("s")
    assert _owned(ledger, bindings.touch(CALLER, "s", ())) == [False]
    assert _owned(ledger, bindings.bind_session(CALLER, "s")) == [True]
    assert _owned(ledger, bindings.bind_session(bob, "s")) == [False]
    for touch in (bindings.touch(CALLER, "s", ()), scripts.admit(application(session="s"))):
        ledger.client.expire(key, 10)
        ledger.run(touch)
        assert ledger.client.ttl(key) > 86_000
    for refused in (bindings.touch(bob, "s", ()), bindings.end_session(bob, "s")):
        assert _owned(ledger, refused) == [False]
    ledger.client.expire(key, 10)
    assert _admit(ledger, application(session="s", caller=bob)).code is AdmissionCode.SESSION_UNKNOWN
    assert _admit(ledger, application(session="s", dry_run=True)).code is AdmissionCode.ADMITTED
    assert ledger.client.ttl(key) <= 10
    assert _owned(ledger, bindings.end_session(CALLER, "s")) == [True]
    assert not ledger.client.exists(key)


def _owned(ledger: RealLedger, command: Command) -> list[bool]:
    return bindings.owned(ledger.run(command))


def test_tasks_are_bound_all_or_none_and_never_taken_from_their_caller(ledger: RealLedger):
    for other in (replace(CALLER, subject="bob"), replace(CALLER, client_id="cli-2")):
        ledger.client.flushdb()
        ledger.load()
        ledger.set_clock(NOW)
        assert _owned(ledger, bindings.bind_tasks(CALLER, ["a", "b"], 0)) == [True, True]
        assert _owned(ledger, bindings.bind_tasks(other, ["new", "b"], 0)) == [False, False]
        assert not ledger.client.exists(KEYS.task("new"))
        assert _owned(ledger, bindings.bind_tasks(other, ["new"], 0)) == [True]
        assert _owned(ledger, bindings.touch(CALLER, None, ["a", "new", "gone", "b"])) == [True, False, False, True]
        assert ledger.client.hgetall(KEYS.task("a")) == {
            "consent": keys.consent_digest(CALLER.subject, CALLER.client_id),
            "subject": CALLER.subject,
            "client_id": CALLER.client_id,
            "at": "1790000000.000",
            "used": "1790000000000",
        }


def test_a_binding_of_another_account_is_not_visible(ledger: RealLedger):
    ledger.run(bindings.bind_tasks(CALLER, ["a"], 0))
    assert _owned(ledger, bindings.touch(replace(CALLER, account="globex"), None, ["a"])) == [False]
    assert _owned(ledger, bindings.touch(replace(CALLER, issuer_id="second"), None, ["a"])) == [False]


@pytest.mark.parametrize(
    ("lifetime", "seconds"),
    [
        (0, bindings.BINDING_LIFE),
        (86_400.2, 86_401),
        (7 * 86_400, 7 * 86_400),
        (365 * 86_400, bindings.MAX_TASK_LIFE),
        (math.inf, bindings.MAX_TASK_LIFE),
    ],
)
def test_a_task_stays_bound_as_long_as_the_backend_keeps_it_within_a_day_and_a_month(
    ledger: RealLedger, lifetime: float, seconds: int
):
    ledger.run(bindings.bind_tasks(CALLER, ["a"], lifetime))
    key = KEYS.task("a")
    for use in (
        bindings.touch(CALLER, None, ["a"]),
        bindings.bind_tasks(CALLER, ["a"], 0),
        scripts.admit(application(tasks=("a",))),
    ):
        assert seconds - 60 < ledger.client.ttl(key) <= seconds  # use does not shorten it
        ledger.run(use)
    ledger.client.expire(key, 10)
    ledger.run(scripts.admit(application(tasks=("a",), dry_run=True)))
    ledger.run(scripts.admit(application(tasks=("a",), caller=replace(CALLER, subject="bob"))))
    ledger.run(scripts.admit(application(tasks=("a", "gone"))))
    assert ledger.client.ttl(key) <= 10  # none of these was a use
    ledger.run(scripts.admit(application(tasks=("a",))))
    assert ledger.client.ttl(key) > bindings.BINDING_LIFE - 60


def test_every_task_of_a_call_must_be_its_callers(ledger: RealLedger):
    ledger.run(bindings.bind_tasks(CALLER, ["a", "b"], 0))
    ledger.run(bindings.bind_tasks(replace(CALLER, client_id="cli-2"), ["theirs"], 0))
    ledger.run(bindings.bind_session(CALLER, "s"))
    price = demand("requests")
    for dry_run in (True, False):
        for refused in (("a", "theirs"), ("gone", "a"), ("theirs",), ("A",)):
            asked = application("c", price, tasks=refused, dry_run=dry_run)
            assert _admit(ledger, asked) == AdmissionReply(AdmissionCode.TASK_UNKNOWN)
    assert _admit(ledger, application(tasks=("a",), session="x")).code is AdmissionCode.SESSION_UNKNOWN
    assert ledger.state().quotas == {}
    assert _admit(ledger, application("c", price, tasks=("a", "b"), session="s")).held


def test_many_tasks_fit(ledger: RealLedger):
    many = [f"task-{number}" for number in range(9_000)]
    assert all(_owned(ledger, bindings.bind_tasks(CALLER, many, 0)))
    assert _admit(ledger, application(tasks=tuple(many))).code is AdmissionCode.ADMITTED


def test_a_deleted_account_keeps_its_revocations_and_stays_disabled(ledger: RealLedger):
    _credits(ledger, "grant", 5, "o")
    _admit(ledger, application("c", demand("contact")))
    ledger.run(bindings.bind_session(CALLER, "s"))
    ledger.run(bindings.bind_tasks(CALLER, ["a"], 0))
    ledger.run(changes.revoke("main", "acme", "bob", "evil"))
    patterns = (KEYS.every_consent, KEYS.every_session, KEYS.every_task, *KEYS.every_list)
    others = [key for pattern in patterns for key in ledger.client.scan_iter(pattern)]
    assert ledger.run(changes.delete_account("main", "acme", others=others)) == ChangeCode.DONE
    left = {key.removeprefix(KEYS.prefix).partition(":")[0] for key in ledger.client.scan_iter(KEYS.prefix + "*")}
    assert left == {"account", "consent", "done", "ledger", "usage"}
    assert ledger.client.hgetall(KEYS.ledger) == {"journal:written": "1"}
    ((_, entry),) = ledger.client.xrange(KEYS.usage)
    assert entry == {"n": "1", "event": "account_deleted", "forfeited:contact": "5"}
    ledger.run(changes.grant("main", "acme", "ann", CALLER.client_id))
    assert _admit(ledger, application()).code is AdmissionCode.ACCOUNT_DISABLED
    assert _credits(ledger, "grant", 5, "o2", create=True).code is ChangeCode.UNKNOWN
    assert ledger.run(changes.set_account("main", "acme", plan="free")) == ChangeCode.UNKNOWN
    assert ledger.run(changes.set_account("main", "acme", plan="free", create=True)) == ChangeCode.CREATED
    assert _admit(ledger, application()).code is AdmissionCode.ADMITTED
    assert ledger.run(changes.delete_account("main", "unknown")) == ChangeCode.UNKNOWN


def test_an_account_is_deleted_however_many_sessions_it_has(ledger: RealLedger):
    others = [KEYS.session(str(number)) for number in range(9_000)]
    ledger.client.delete(KEYS.account, KEYS.consent("ann", CALLER.client_id), KEYS.consents, KEYS.ledger, KEYS.usage)
    for known in ([], others[-1:], others):
        for key in known:
            ledger.client.hset(key, "subject", "ann")
        code = ChangeCode.DONE if known else ChangeCode.UNKNOWN
        assert ledger.run(changes.delete_account("main", "acme", others=others)) == code
        left = {KEYS.account, KEYS.ledger, KEYS.usage} if known else set()
        assert {*ledger.client.scan_iter(KEYS.prefix + "*")} == left


# --- faults ------------------------------------------------------------------------------------------


def test_without_memory_access_still_ends_and_holds_still_resolve(own_server: StoreServer):
    real = RealLedger(own_server)
    real.run_unpatched(changes.grant("main", "acme", "ann", CALLER.client_id))
    real.client.hset(KEYS.account, mapping=GROWTH)
    asked = application("c", demand("contact"))
    assert scripts.admitted(asked, real.run_unpatched(scripts.admit(asked))).held
    real.client.config_set("maxmemory", 1)
    for command in (scripts.admit(application("c2")), scripts.admit(application("c3", dry_run=True))):
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            real.run_unpatched(command)
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        real.run_unpatched(changes.grant("main", "acme", "bob", "c"))
    assert scripts.receipt(real.run_unpatched(scripts.settle(asked, None))).paid == {"contact": 1}
    real.run_unpatched(changes.revoke("main", "acme", "ann", CALLER.client_id))
    real.client.config_set("maxmemory", 0)
    answer = scripts.admitted(asked, real.run_unpatched(scripts.admit(application("c4"))))
    assert answer.code is AdmissionCode.CONSENT_REVOKED
    real.close()


def test_a_replica_answers_nothing_not_even_a_look(own_server: StoreServer):
    real = RealLedger(own_server)
    real.client.replicaof("127.0.0.1", free_port())
    for asked in (application("c", demand("contact")), application("c", dry_run=True)):
        with pytest.raises(redis.exceptions.ReadOnlyError):
            real.run_unpatched(scripts.admit(asked))
    real.client.replicaof("NO", "ONE")
    real.close()


def test_an_emptied_store_denies_access(ledger: RealLedger):
    ledger.raw.flushall()
    ledger.load()
    ledger.set_clock(NOW)
    assert _admit(ledger, application("c", demand("contact"))).code is AdmissionCode.CONSENT_MISSING


def test_a_hold_survives_the_death_of_the_server(own_server: StoreServer):
    real = RealLedger(own_server)
    real.client.hset(KEYS.account, mapping=GROWTH)
    real.run_unpatched(changes.grant("main", "acme", "ann", CALLER.client_id))
    asked = application("c", demand("contact", 3))
    assert scripts.admitted(asked, real.run_unpatched(scripts.admit(asked))).held
    own_server.kill()
    own_server.start()
    again = RealLedger(own_server)
    assert again.state().holds["c"].amounts[0].reserved == 3
    assert scripts.receipt(again.run_unpatched(scripts.settle(asked, None))).paid == {"contact": 3}
    again.close()
