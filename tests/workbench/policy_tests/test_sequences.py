"""Steps of a test share one account, and its results settle calls."""

from textwrap import dedent, indent

import pytest

from sidecar.config.documents.merging import DocumentError, parse
from sidecar.policy.language.compile import compile_policy
from sidecar.policy.rules import Policy
from sidecar.workbench.testing import CaseOutcome, run_tests

POLICY = """\
scopes: {read: Read.}
quotas: {requests: {minute: 2, day: 9}, rows: {month: 20}}
credits: {coin: One.}
default_plan: free
plans: {free: {tools: [look, buy, search]}, full: {credits: {coin: {month: 3}}}}
tools:
  look: {scopes: [], uses: {requests: 1}}
  buy:
    scopes: [read]
    spends: {coin: {items: arguments.ids, settle: "data.ids", once: true}}
    arguments: {properties: {ids: {type: array}}}
    rows: length(data.ids)
  search: {scopes: [], uses: {rows: {reserve: arguments.n, settle: length(data)}}, arguments: {properties: {n: {}}}}
  strict: {scopes: [read], charge_errors: true, uses: {requests: {reserve: 1, settle: 1}}}
  kept: {scopes: [], on_unknown: settle, spends: {coin: 1}}
listing: {missing_scope: hide, missing_plan: hide}
"""


def compiled(test: str) -> Policy:
    return compile_policy([parse("p.yaml", f"{POLICY}tests:\n  - name: n\n{indent(dedent(test), '    ')}")])


def run(test: str) -> CaseOutcome:
    (outcome,) = run_tests(compiled(test))
    return outcome


BUY = "call: {tool: buy, arguments: {ids: [a, b]}}"
CALLER = "caller: {scopes: [read], plan: full}\n"
LOOK = "call: {tool: look}"
NO_ROWS = "expect: {settled: {quotas: {rows: 0}}}"

PASSING = {
    "the third call of a minute is refused, and the next minute begins with nothing used": f"""\
        steps:
          - {{times: 2, {LOOK}, expect: allow}}
          - {{{LOOK}, expect: quota_exceeded}}
          - {{after: 61s, {LOOK}, expect: {{allow: {{quotas: {{requests: 1}}}}}}}}
        """,
    "a longer window counts across the shorter ones": f"""\
        steps:
          - {{times: 2, {LOOK}, expect: allow}}
          - {{after: 1m, times: 2, {LOOK}, expect: allow}}
          - {{after: 1m, times: 2, {LOOK}, expect: allow}}
          - {{after: 1m, times: 2, {LOOK}, expect: allow}}
          - {{after: 1m, {LOOK}, expect: allow}}
          - {{after: 1m, {LOOK}, expect: quota_exceeded}}
          - {{after: 24h, {LOOK}, expect: allow}}
        """,
    "without a result the second time is free": f"""\
        {CALLER.strip()}
        steps:
          - {{{BUY}, expect: {{allow: {{credits: {{coin: 2}}}}}}}}
          - {{{BUY}, expect: {{allow: {{credits: {{coin: 0}}}}}}}}
        """,
    "only delivered items are paid": f"""\
        {CALLER.strip()}
        steps:
          - {BUY}
            result: {{structuredContent: {{ids: [a]}}}}
            expect: {{allow: {{credits: {{coin: 2}}}}, settled: {{credits: {{coin: 1}}, rows: 1}}}}
          - {{{BUY}, expect: {{allow: {{credits: {{coin: 1}}}}}}}}
        """,
    "credits run out by what earlier calls cost": f"""\
        {CALLER.strip()}
        steps:
          - {{{BUY}, expect: allow}}
          - {{call: {{tool: buy, arguments: {{ids: [c]}}}}, expect: allow}}
          - {{call: {{tool: buy, arguments: {{ids: [d]}}}}, expect: insufficient_credits}}
          - {{{BUY}, expect: allow}}
        """,
    "an error of the tool costs nothing": f"""\
        {CALLER.strip()}
        steps:
          - {{{BUY}, result: {{isError: true}}, expect: {{settled: {{credits: {{coin: 0}}}}}}}}
          - {{{BUY}, expect: {{allow: {{credits: {{coin: 2}}}}}}}}
        """,
    "a JSON-RPC error costs nothing but the fixed amounts": f"""\
        steps:
          - {{{LOOK}, result: error, expect: {{settled: {{quotas: {{requests: 1}}}}}}}}
          - {{call: {{tool: search, arguments: {{n: 20}}}}, result: error, {NO_ROWS}}}
          - {{call: {{tool: search, arguments: {{n: 20}}}}, expect: allow}}
        """,
    "charge_errors prices an error as a result": f"""\
        {CALLER.strip()}
        call: {{tool: strict}}
        result: {{isError: true}}
        expect: {{settled: {{quotas: {{requests: 1}}}}}}
        """,
    "no answer is resolved by on_unknown": f"""\
        {CALLER.strip()}
        steps:
          - {{call: {{tool: kept}}, result: unknown, expect: {{settled: {{credits: {{coin: 1}}}}}}}}
          - {{call: {{tool: search, arguments: {{n: 9}}}}, result: unknown, {NO_ROWS}}}
        """,
    "rows count in full, past the reserve": """\
        steps:
          - call: {tool: search, arguments: {n: 5}}
            result: {content: [{type: text, text: "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19]"}]}
            expect: {settled: {quotas: {rows: 19}}}
          - {call: {tool: search, arguments: {n: 2}}, expect: quota_exceeded}
          - {call: {tool: search, arguments: {n: 1}}, expect: allow}
        """,
    "a refused call uses nothing": f"""\
        caller: {{plan: full}}
        steps:
          - {{times: 5, {BUY}, expect: insufficient_scope}}
          - {{{LOOK}, expect: allow}}
        """,
    "a result that does not name its items charges the reserve and pays for none": f"""\
        {CALLER.strip()}
        steps:
          - call: {{tool: buy, arguments: {{ids: [a]}}}}
            result: {{structuredContent: {{}}}}
            expect: {{settled: {{credits: {{coin: 1}}}}}}
          - {{call: {{tool: buy, arguments: {{ids: [a]}}}}, expect: {{allow: {{credits: {{coin: 1}}}}}}}}
        """,
    "under first use the first call writes the consent": f"""\
        caller: {{consent: active}}
        steps:
          - {{{LOOK}, expect: allow}}
        """,
    "a tool of another plan is hidden": "call: {tool: kept}\nexpect: hidden\n",
    "a tool without its scope is hidden": "call: {tool: buy}\nexpect: hidden\n",
    "a tool of the plan is listed": "call: {tool: look}\nexpect: listed\n",
    "a tool with its scope is listed": CALLER + "call: {tool: buy}\nexpect: listed\n",
    "the whole list": "call: {list: tools}\nexpect: {listed: [search, look]}\n",
    "the list of a larger plan": CALLER + "call: {list: tools}\nexpect: {listed: [look, buy, search, strict, kept]}\n",
    "a list may be refused": "caller: {consent: revoked}\ncall: {list: tools}\nexpect: consent_revoked\n",
}


@pytest.mark.parametrize("test", PASSING.values(), ids=PASSING)
def test_the_account_carries_what_calls_leave(test):
    outcome = run(test)
    assert outcome.passed, outcome


FAILING = {
    "the step and the repetition": (
        f"steps:\n  - {{times: 2, {LOOK}, expect: allow}}\n  - {{times: 9, after: 1m, {LOOK}, expect: allow}}\n",
        "p.yaml:21: n: step 2, time 3: expected allow, got quota_exceeded (",
        "p.yaml:7",
    ),
    "the settled price": (
        f"{CALLER}{BUY}\nresult: {{structuredContent: {{ids: [a]}}}}\n"
        "expect: {allow: {credits: {coin: 2}}, settled: {credits: {coin: 2}, rows: 2}}\n",
        "p.yaml:18: n: expected allow {credits: {coin: 2}}, settled {credits: {coin: 2}, rows: 2}, "
        "got allow {credits: {coin: 2}}, settled {credits: {coin: 1}, rows: 1}",
        "p.yaml:8",
    ),
    "an amount that the result cannot price": (
        f"{CALLER}{BUY}\nresult: {{structuredContent: {{}}}}\nexpect: {{settled: {{credits: {{coin: 1}}}}}}\n",
        "got allow {credits: {coin: 2}}, settled {credits: {coin: 2}, rows: null} (p.yaml:10: ",
        "p.yaml:8",
    ),
    "a listed tool": ("call: {tool: look}\nexpect: hidden\n", "expected hidden, got listed", None),
    "a hidden tool": ("call: {tool: kept}\nexpect: listed\n", "expected listed, got hidden", None),
    "a refused list": (
        "caller: {consent: revoked}\ncall: {tool: look}\nexpect: hidden\n",
        "expected hidden, got consent_revoked (",
        None,
    ),
    "another list": (
        "call: {list: tools}\nexpect: {listed: [look]}\n",
        "expected listed [look], got listed [look, search]",
        None,
    ),
    "the plan": (
        "caller: {scopes: [read]}\ncall: {tool: kept}\nexpect: allow\n",
        "expected allow, got plan_required (",
        "p.yaml:5",
    ),
}


@pytest.mark.parametrize(("test", "said", "decided"), FAILING.values(), ids=FAILING)
def test_a_failure_says_what_was_expected_what_came_and_which_line_decided(test, said, decided):
    outcome = run(test)
    assert not outcome.passed
    assert said in str(outcome)
    assert outcome.decided == decided


WRONG = {
    "neither": ("caller: {}\n", "tests[0].call: required but missing; accepted: call and expect, or steps"),
    "both": (f"{LOOK}\nexpect: allow\nsteps: [{{{LOOK}, expect: allow}}]\n", "tests[0].call: is given although"),
    "no step": ("steps: []\n", "tests[0].steps: too few entries"),
    "no time": (f"steps: [{{after: 0s, {LOOK}, expect: allow}}]\n", "tests[0].steps[0].after"),
    "too often": (f"steps: [{{times: 1001, {LOOK}, expect: allow}}]\n", "tests[0].steps[0].times: too large"),
    "too often together": (
        f"steps: [{{times: 999, {LOOK}, expect: allow}}, {{times: 2, {LOOK}, expect: allow}}]\n",
        "tests[0].steps: the steps make 1001 calls; accepted: at most 1000",
    ),
    "result of a refused call": (f"{LOOK}\nresult: error\nexpect: quota_exceeded\n", "tests[0].result: the backend"),
    "result of a list": ("call: {list: tools}\nresult: error\nexpect: {listed: []}\n", "tests[0].result: the backend"),
    "another result": (f"{LOOK}\nresult: lost\nexpect: allow\n", "tests[0].result"),
    "nothing expected": (f"{LOOK}\nexpect: {{}}\n", "tests[0].expect: expects nothing"),
    "settled without a result": (f"{LOOK}\nexpect: {{settled: {{}}}}\n", "tests[0].expect.settled: there is no result"),
    "an unknown quota": (
        f"{LOOK}\nresult: error\nexpect: {{settled: {{quotas: {{row: 1}}}}}}\n",
        "tests[0].expect.settled.quotas.row: there is no quota 'row'",
    ),
    "a list with a price": (
        "call: {list: tools}\nexpect: {listed: [], allow: {}}\n",
        "tests[0].expect: a list of tools",
    ),
    "a list of a call": (f"{LOOK}\nexpect: {{listed: [look]}}\n", "tests[0].expect: a list of tools has no price, and"),
    "a list and a tool": ("call: {list: tools, tool: look}\nexpect: allow\n", "tests[0].call: names list and tool"),
    "an unknown listed tool": (
        "call: {list: tools}\nexpect: {listed: [lok]}\n",
        "tests[0].expect.listed[0]: there is no tool 'lok'",
    ),
    "a misspelt hidden tool": ("call: {tool: lok}\nexpect: hidden\n", "tests[0].call.tool: there is no tool 'lok'"),
    "a hidden prompt": ("call: {prompt: x}\nexpect: hidden\n", "tests[0].expect: 'hidden' is the outcome of a tool"),
    "a step's own place": (f"steps: [{{{LOOK}, expect: alow}}]\n", "tests[0].steps[0].expect: 'alow' is no outcome"),
}


@pytest.mark.parametrize(("test", "wrong"), WRONG.values(), ids=WRONG)
def test_a_test_that_could_pass_for_the_wrong_reason_is_an_error(test, wrong):
    with pytest.raises(DocumentError) as info:
        compiled(test)
    assert wrong in "\n".join(map(str, info.value.problems))


def test_under_first_use_an_admitted_call_writes_the_consent_that_later_calls_find():
    text = POLICY + "consent: first_use\n"
    steps = "steps: [{call: {tool: look}, expect: allow}, {call: {list: tools}, expect: allow}]"
    policy = compile_policy([parse("p.yaml", f"{text}tests: [{{name: n, caller: {{consent: missing}}, {steps}}}]")])
    assert [outcome.passed for outcome in run_tests(policy)] == [True]
