"""Lists that Python and Lua share are written once; adding a window is one line."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import subprocess
import sys
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Any

import pytest

import sidecar
from sidecar.ledger import approval_records, decoding, settlement
from sidecar.model import MAX_AMOUNT, MAX_AMOUNTS_PER_HOLD, AdmissionCode, AmountKind, OnUnknown
from sidecar.outcome import Resolution
from sidecar.store.commands import scripts
from sidecar.store.commands.command import ChangeCode
from sidecar.store.commands.generated import LISTS
from sidecar.window_rules import WINDOW_RULES, WINDOWS
from tests.support.store import StoreServer

PACKAGE = Path(sidecar.__file__).parent
LUA = sorted((PACKAGE / "store" / "commands" / "lua").glob("*.lua"))
MODULES = {
    path.stem: ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in PACKAGE.rglob("*.py")
}

_CODES: dict[str, type[IntEnum]] = {"AdmissionCode": AdmissionCode, "ChangeCode": ChangeCode}
_SETS: dict[str, tuple[str, type[StrEnum]]] = {
    "AmountKind": ("is_kind", AmountKind),
    "OnUnknown": ("is_on_unknown", OnUnknown),
}
_NUMBERS = {
    "MAX_AMOUNT": ("MAX", MAX_AMOUNT),
    "MAX_AMOUNTS_PER_HOLD": ("MAX_AMOUNTS_PER_HOLD", MAX_AMOUNTS_PER_HOLD),
    "APPROVAL_LIFE": ("APPROVAL_LIFE", approval_records.APPROVAL_LIFE),
    "MAX_PENDING": ("MAX_PENDING", approval_records.MAX_PENDING),
    "MAX_EVENTS": ("MAX_EVENTS", decoding.MAX_EVENTS),
    "EXPIRY_BATCH": ("EXPIRY_BATCH", settlement.EXPIRY_BATCH),
    "MAX_FOLLOWED_EVENTS": ("MAX_FOLLOWED_EVENTS", settlement.MAX_FOLLOWED_EVENTS),
    "MAX_AT_DIGITS": ("MAX_AT_DIGITS", decoding.MAX_AT_DIGITS),
}


def evaluated(server: StoreServer, name: str, expression: str) -> Any:
    """Value that Lua gives to an expression after a generated list."""
    body = "\n".join([*LISTS[name], f"return cjson.encode({expression})"])
    with server.client() as client:
        return json.loads(client.eval(body, 0))


@pytest.mark.parametrize("name", _CODES)
def test_lua_has_every_code_of_the_enum(store_server: StoreServer, name: str):
    codes = [*_CODES[name]]
    found = evaluated(store_server, name, "{" + ", ".join(code.name for code in codes) + "}")
    assert found == [code.value for code in codes]


@pytest.mark.parametrize("name", _SETS)
def test_lua_accepts_the_words_of_the_enum_only(store_server: StoreServer, name: str):
    accepts, words = _SETS[name]
    asked = [*(word.value for word in words), "other", ""]
    found = evaluated(store_server, name, "{" + ", ".join(f"{accepts}('{word}')" for word in asked) + "}")
    assert found == [True] * len(words) + [False, False]


@pytest.mark.parametrize("name", _NUMBERS)
def test_lua_has_the_limits_of_python(store_server: StoreServer, name: str):
    local, number = _NUMBERS[name]
    assert evaluated(store_server, name, f"string.format('%.0f', {local})") == str(number)


def test_lua_has_the_names_of_resolutions(store_server: StoreServer):
    names = ", ".join(word.name for word in Resolution)
    assert evaluated(store_server, "Resolution", "{" + names + "}") == [word.value for word in Resolution]


def test_lua_has_the_windows_in_their_order(store_server: StoreServer):
    assert evaluated(store_server, "WINDOWS", "WINDOWS") == [*WINDOWS]
    rules = [[rule.seconds, rule.begins, rule.months] for rule in WINDOW_RULES.values()]
    of_lua = ", ".join(f"{{window_rule('{name}')}}" for name in WINDOWS)
    assert evaluated(store_server, "WINDOWS", f"{{{of_lua}}}") == rules
    assert evaluated(store_server, "WINDOWS", "{window_rule('other')}") == {}


def test_every_list_is_compared_and_used():
    assert LISTS.keys() == {*_CODES, *_SETS, *_NUMBERS, "Resolution", "WINDOWS"}
    assert LUA
    text = "".join(path.read_text() for path in LUA)
    assert {name for name in LISTS if f"-- generate {name}\n" not in text} == set()


def test_a_window_is_named_nowhere_but_in_the_table():
    named = re.compile(rf"""['"]({"|".join(WINDOWS)})['"]""")
    rest = [path for path in (*PACKAGE.rglob("*.py"), *LUA) if "demo" not in path.parts]
    found = {path.relative_to(PACKAGE).as_posix() for path in rest if named.search(path.read_text("utf-8"))}
    assert found == {"window_rules.py"}


def test_the_policy_page_lists_every_window():
    page = (PACKAGE.parent / "docs" / "policy.md").read_text("utf-8")
    assert f"in UTC windows ({', '.join(f'`{name}`' for name in WINDOWS)})" in page


def test_every_window_is_a_word_that_the_journal_reads():
    """`journal.lua` and `journal.counters` match names of windows by their letters."""
    assert all(re.fullmatch("[a-z]+", name) for name in WINDOWS)


@pytest.mark.parametrize("script", scripts.scripts, ids=lambda script: script.name)
def test_no_list_is_twice_in_a_script(script: Any):
    lines = script.source.splitlines()
    assert [name for name, made in LISTS.items() if lines.count(made[0]) > 1] == []


@pytest.mark.parametrize("path", LUA, ids=lambda path: path.stem)
def test_headers_name_what_exists(path: Path):
    """A reference in a comment to a Python module or one of its names resolves."""
    header = [line for line in path.read_text("utf-8").splitlines() if line.startswith("--")]
    for reference in re.findall(r"`?\b((?:\w+)\.(?:[a-zA-Z]\w+))\b`?", " ".join(header)):
        module, _, name = reference.partition(".")
        if name in ("lua", "call", "pcall") or module in ("redis", "cjson"):
            continue
        assert module in MODULES, reference
        if name != "py":
            assert hasattr(importlib.import_module(MODULES[module]), name), reference


_TRIAL = """
import json, sys
import redis
from sidecar.ledger import admission, settlement
from sidecar.ledger.accounts import AccountState, Consent
from sidecar.store.commands import changes, scripts
from sidecar.store.commands.keys import caller_keys
from sidecar.ledger.journal.verification import verify
from sidecar.ledger.journal.entries import Entry
from sidecar.ledger.windows import window_at
from sidecar.model import *
from sidecar.terms import *
from sidecar.policy.language.models import PlanDocument

PlanDocument.model_validate({"quotas": {"rows": {"week": 9}}, "credits": {"contact": {"week": 3}}})
assert window_at("week", 1795996800000)[1] == 604800, "Monday 2026-11-30T00:00:00Z begins a week"
client = redis.Redis(unix_socket_path=sys.argv[1], decode_responses=True)
run = lambda command: client.eval(command.script.source, len(command.keys), *command.keys, *command.arguments)
caller = Caller("main", "https://issuer", "ann", "acme", "client", frozenset(), 1, 0)
keys = caller_keys(caller)
plans = {"p": PlanTerms(True, {"rows": {"week": 9, "month": 90}}, {"contact": ("week", 3)})}
terms = Terms(ConsentMode.REQUIRED, "p", plans, plans["p"])
run(changes.grant("main", "acme", "ann", "client"))
run(changes.change_credits("main", "acme", "grant", "contact", 5, operation="o", create=True))
model = AccountState(consents={("ann", "client"): Consent(True, 0)}, balances={"contact": 5}, totals={"contact": 5})
demands = (Demand(AmountKind.QUOTA, "rows", 3), Demand(AmountKind.CREDIT, "contact", 4))
for number, charges in enumerate(([], None, [])):
    asked = Application(f"c{number}", "p", caller, False, Depth.PRICE, terms, demands)
    seconds, micros = client.time()
    now = seconds * 1000 + micros // 1000
    wanted, model = admission.admit(model, asked, now)
    got = scripts.admitted(asked, run(scripts.admit(asked)))
    assert got.prices[0].window == wanted.prices[0].window == "week", got
    assert abs(got.prices[0].resets_in - window_at("week", now)[1]) <= 60
    if number == 1:
        receipt, model = settlement.release(model, asked.call_id, forwarded=True, now=now, lease=1000)
        assert scripts.receipt(run(scripts.release(asked, forwarded=True))) == receipt
    elif got.held:
        receipt, model = settlement.settle(model, asked.call_id, charges, now=now, lease=1000)
        assert scripts.receipt(run(scripts.settle(asked, charges))) == receipt
seen = changes.inspected(run(changes.inspect(keys)))
assert seen.state.quotas == model.quotas and seen.state.included == model.included, (seen.state, model)
assert any(window == "week" for _, window in model.quotas) and seen.state.holds == {}
snapshot = changes.audited(run(changes.audit(keys)))
assert verify(snapshot, [Entry(at, fields) for at, fields in client.xrange(keys.usage)]) == []
print(json.dumps(sorted(model.included)))
"""


def test_adding_a_window_is_one_line(tmp_path: Path, store_server: StoreServer):
    """With one line more in the table a week is priced, taken, settled, released, journaled and verified."""
    shutil.copytree(PACKAGE, tmp_path / "sidecar", ignore=shutil.ignore_patterns("__pycache__"))
    table = tmp_path / "sidecar" / "window_rules.py"
    month = '    "month": WindowRule(months=1),\n'
    week = '    "week": WindowRule(seconds=604_800, begins=345_600),\n'
    assert table.read_text().count(month) == 1
    table.write_text(table.read_text().replace(month, week + month))
    command = [sys.executable, "-c", _TRIAL, str(store_server.path)]
    made = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout) == [["contact", "week"]]
