"""Gate 4 of everything but tools: default deny, scopes, plans and prices of what a request names."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import ErrorCode, Shape
from sidecar.model import Call, CallKind, Decision, Depth, Revision
from sidecar.policy.decide import decide, judge
from sidecar.policy.methods import TOKEN_ONLY, UNDECLARED
from sidecar.protocol.revisions import METHODS
from sidecar.protocol.uris import uris
from tests.policy.support import caller, policy

POLICY = """
scopes: {read: Read., admin: {description: All., implies: [read]}, speak: Speak., listen: Listen.}
quotas: {requests: {minute: 60}, rows: {month: 100}}
credits: {coin: One.}
default_plan: free
plans:
  free: {resources: ["docs://*"], prompts: [greet]}
  paid: {}
resources:
  "docs://*": {scopes: [read], uses: {requests: 1}}
  "docs://secret/*": {scopes: [admin], uses: {requests: 1}, spends: {coin: meta.price}, timeout: 3s}
  "docs://free": {scopes: []}
prompts:
  greet: {scopes: [speak], spends: {coin: {reserve: 2, settle: length(result.messages)}}}
  shout: {scopes: []}
methods:
  completion/complete: {scopes: [read], uses: {requests: 1}}
  subscriptions/listen: {scopes: [listen], uses: {requests: 1}}
  logging/setLevel: {scopes: []}
  tasks/get: {scopes: []}
  notifications/tasks/status: {scopes: []}
  acme/thing: {scopes: [admin], spends: {coin: 1}}
  notifications/acme: {scopes: []}
"""
COMPILED = policy(POLICY)
EMPTY = policy("consent: required\nscopes: {admin: A}\ntools: {t: {scopes: []}}")
OLD, NEW = Revision.V2025_11_25, Revision.V2026_07_28

PARAMS: dict[str, dict[str, Any]] = {
    "tools/call": {"name": "x"},
    "resources/read": {"uri": "docs://a"},
    "resources/subscribe": {"uri": "docs://a"},
    "resources/unsubscribe": {"uri": "docs://a"},
    "prompts/get": {"name": "greet"},
    "completion/complete": {"ref": {"type": "ref/prompt", "name": "greet"}, "argument": {"name": "a", "value": ""}},
    "subscriptions/listen": {"notifications": {"resourceSubscriptions": ["docs://a"]}},
    "logging/setLevel": {"level": "debug"},
}


def asked(method: str, params: dict[str, Any] | None = None, revision: Revision = OLD) -> Call:
    given = PARAMS.get(method, {}) if params is None else params
    kind = CallKind.NOTIFICATION if method.startswith("notifications/") else CallKind.REQUEST
    document: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": method, "params": given}
    return Call(kind, revision, method, 1 if kind is CallKind.REQUEST else None, given, document)


def judged(method: str, *scopes: str, revision: Revision = OLD, **params: Any) -> Decision:
    return decide(COMPILED, asked(method, params or None, revision), caller(*scopes))


def code(decision: Decision) -> ErrorCode | None:
    return None if decision.refusal is None else decision.refusal.code


def allowed(decision: Decision) -> dict[str, bool]:
    assert decision.terms is not None
    return {name: terms.allowed for name, terms in (decision.terms.plans or {}).items()}


# --- default deny --------------------------------------------------------------------------------

FREE = {name for table in (TOKEN_ONLY, UNDECLARED) for names in table.values() for name in names}


@pytest.mark.parametrize("revision", Revision)
@pytest.mark.parametrize("method", sorted(set(METHODS) - FREE))
def test_every_method_that_is_not_declared_is_refused_in_every_revision(method: str, revision: Revision):
    decision, operation = judge(EMPTY, asked(method, revision=revision), caller("admin"))
    assert decision.refusal is not None
    has = revision in METHODS[method]
    unknown = {
        "tools/call": ErrorCode.TOOL_UNKNOWN,
        "prompts/get": ErrorCode.PROMPT_UNKNOWN,
        **dict.fromkeys(("resources/read", "resources/subscribe", "resources/unsubscribe"), ErrorCode.RESOURCE_UNKNOWN),
    }
    expected = unknown.get(method, ErrorCode.METHOD_NOT_ALLOWED) if has else ErrorCode.METHOD_NOT_ALLOWED
    assert decision.refusal.code is expected
    assert (decision.document, decision.demands, decision.depth) == (None, (), Depth.CONSENT)
    assert operation is None


@pytest.mark.parametrize("revision", Revision)
@pytest.mark.parametrize(
    "method", ["acme/thing", "notifications/acme", "logging/setLevel", "notifications/tasks/status"]
)
def test_a_declared_method_is_served_in_the_revisions_that_have_it(method: str, revision: Revision):
    decision = decide(COMPILED, asked(method, revision=revision), caller("admin"))
    has = method not in METHODS or revision in METHODS[method]
    assert code(decision) is (None if has else ErrorCode.METHOD_NOT_ALLOWED)
    assert (decision.document is not None) is has


@pytest.mark.parametrize(
    "method", ["acme/Thing", "Acme/thing", "acme/thing ", "acme/thing\0", "notifications/Acme", "Logging/setLevel", ""]
)
def test_methods_are_declared_by_their_exact_name(method: str):
    assert code(judged(method, "admin")) is ErrorCode.METHOD_NOT_ALLOWED


@pytest.mark.parametrize("kind", [CallKind.NOTIFICATION, CallKind.RESPONSE, CallKind.STREAM, CallKind.END_SESSION])
@pytest.mark.parametrize("method", ["resources/read", "prompts/get"])
def test_what_is_no_request_reads_nothing(method: str, kind: CallKind):
    decision = decide(COMPILED, Call(kind, OLD, method, params=PARAMS[method]), caller("admin", "speak"))
    assert code(decision) is ErrorCode.METHOD_NOT_ALLOWED


@pytest.mark.parametrize("name", ["Greet", "greet ", "greet\u200b", "", "GREET", "greet*"])
def test_prompts_are_declared_by_their_exact_name(name: str):
    decision = judged("prompts/get", "speak", name=name)
    assert code(decision) is ErrorCode.PROMPT_UNKNOWN
    assert (decision.depth, decision.terms) == (Depth.CONSENT, COMPILED.open_terms)


@pytest.mark.parametrize("method", ["resources/read", "resources/subscribe", "resources/unsubscribe"])
@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("docs://a", None),
        ("docs://secret/a", None),
        ("file:///etc/passwd", ErrorCode.RESOURCE_UNKNOWN),
        ("DOCS://a", ErrorCode.RESOURCE_UNKNOWN),
        ("xdocs://a", ErrorCode.RESOURCE_UNKNOWN),
        ("docs://a/../secret/x", ErrorCode.PARAMS_MALFORMED),
        ("docs://a/%2e%2e/secret/x", ErrorCode.PARAMS_MALFORMED),
        ("docs://secret%2fx", ErrorCode.PARAMS_MALFORMED),
        ("docs://SECRET/x", ErrorCode.PARAMS_MALFORMED),
        ("docs://free?x", ErrorCode.PARAMS_MALFORMED),
    ],
)
def test_resources_are_found_by_their_uri(method: str, uri: str, expected: ErrorCode | None):
    decision = judged(method, "admin", uri=uri, _meta={"price": 0})
    assert code(decision) is expected
    if decision.refusal is not None:
        assert uri not in decision.refusal.detail
        assert decision.depth is Depth.CONSENT


# --- scopes, plans, prices -----------------------------------------------------------------------


def test_a_resource_is_judged_like_a_tool():
    decision = judged("resources/read", "admin", uri="docs://secret/x", _meta={"price": 4})
    assert decision.refusal is None
    assert [(each.name, each.reserve, each.fixed) for each in decision.demands] == [
        ("requests", 1, True),
        ("coin", 4, False),
    ]
    assert (decision.timeout, decision.rule, decision.scopes) == (3.0, "p1.yaml:11", ("admin",))
    assert allowed(decision) == {"free": False, "paid": True}
    assert decision.document is not None


def test_a_missing_scope_is_a_challenge_without_a_price():
    decision = judged("resources/read", "read", uri="docs://secret/x", _meta={"price": 4})
    refusal = decision.refusal
    assert refusal is not None
    assert (refusal.code, refusal.shape, refusal.status) == (ErrorCode.INSUFFICIENT_SCOPE, Shape.CHALLENGE, 403)
    assert (refusal.scopes, refusal.rule) == (("admin", "read"), "p1.yaml:11")
    assert (decision.depth, decision.demands) == (Depth.PLAN, ())
    assert decision.terms is not None
    assert decision.terms.scopes == ()


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        (None, ErrorCode.ARGUMENTS_REFUSED),
        ({"price": "1"}, ErrorCode.ARGUMENTS_REFUSED),
        ({"price": -1}, ErrorCode.ARGUMENTS_REFUSED),
        ({"price": 1, "Price": 0}, ErrorCode.ARGUMENTS_REFUSED),
        ({"price": 2**53}, ErrorCode.PARAMS_MALFORMED),
    ],
)
def test_calls_without_a_price_are_refused(meta: Any, expected: ErrorCode):
    params = {"uri": "docs://secret/x"} if meta is None else {"uri": "docs://secret/x", "_meta": meta}
    decision = judged("resources/read", "admin", **params)
    assert code(decision) is expected
    assert (decision.depth, decision.document) == (Depth.PLAN, None)
    assert decision.refusal is not None
    assert decision.refusal.rule == "p1.yaml:11"


@pytest.mark.parametrize("method", ["resources/subscribe", "resources/unsubscribe"])
def test_subscribing_needs_the_scopes_and_costs_what_is_fixed(method: str):
    decision = judged(method, "admin", uri="docs://secret/x")
    assert [each.name for each in decision.demands] == ["requests"]
    assert code(judged(method, "read", uri="docs://secret/x")) is ErrorCode.INSUFFICIENT_SCOPE


def test_a_prompt_takes_any_arguments_and_has_its_price():
    decision = judged("prompts/get", "speak", name="greet", arguments={"who": "you"})
    assert code(decision) is None
    assert [(each.name, each.reserve) for each in decision.demands] == [("coin", 2)]
    assert decision.document is not None
    assert decision.document["params"]["arguments"] == {"who": "you"}


# --- completions ---------------------------------------------------------------------------------


def completed(*scopes: str, **ref: str) -> Decision:
    kind = "ref/prompt" if "name" in ref else "ref/resource"
    return judged("completion/complete", *scopes, ref={"type": kind, **ref}, argument={"name": "a", "value": ""})


@pytest.mark.parametrize(
    ("ref", "scopes", "expected"),
    [
        ({"name": "greet"}, ("read", "speak"), None),
        ({"name": "greet"}, ("read",), ErrorCode.INSUFFICIENT_SCOPE),
        ({"name": "greet"}, ("speak",), ErrorCode.INSUFFICIENT_SCOPE),
        ({"name": "secret"}, ("read", "speak"), ErrorCode.PROMPT_UNKNOWN),
        ({"uri": "docs://a"}, ("read",), None),
        ({"uri": "docs://secret/x"}, ("read",), ErrorCode.INSUFFICIENT_SCOPE),
        ({"uri": "docs://open/{id}"}, ("read",), None),
        ({"uri": "docs://secret/{id}"}, ("read",), ErrorCode.INSUFFICIENT_SCOPE),
        ({"uri": "docs://{path}"}, ("read",), ErrorCode.INSUFFICIENT_SCOPE),
        ({"uri": "docs://{path}"}, ("admin",), None),
        ({"uri": "docs://SECRET/{id}"}, ("read",), ErrorCode.INSUFFICIENT_SCOPE),
        ({"uri": "docs://%73ecret/{id}"}, ("read",), ErrorCode.INSUFFICIENT_SCOPE),
        ({"uri": "file://{path}"}, ("admin",), ErrorCode.RESOURCE_UNKNOWN),
        ({"uri": "{+uri}"}, ("admin",), ErrorCode.RESOURCE_UNKNOWN),
        ({"uri": "{scheme}://a"}, ("admin",), ErrorCode.RESOURCE_UNKNOWN),
        ({"uri": "docs://a/../{id}"}, ("admin",), ErrorCode.PARAMS_MALFORMED),
        ({"uri": "docs://{a}/%2e%2e/{id}"}, ("admin",), ErrorCode.PARAMS_MALFORMED),
        ({"uri": "docs://{a/{b}"}, ("admin",), ErrorCode.PARAMS_MALFORMED),
        ({"uri": "docs://{a}}/{b}"}, ("admin",), ErrorCode.PARAMS_MALFORMED),
        ({"uri": "docs://a/../b"}, ("admin",), ErrorCode.PARAMS_MALFORMED),
    ],
)
def test_a_completion_needs_what_it_names_too(ref: dict[str, str], scopes: tuple[str, ...], expected: ErrorCode | None):
    assert code(completed(*scopes, **ref)) is expected


def test_a_completion_costs_its_own_price_and_meets_every_plan():
    decision = completed("read", "speak", name="greet")
    assert [(each.name, each.reserve) for each in decision.demands] == [("requests", 1)]
    assert (decision.scopes, decision.rule) == (("read", "speak"), "p1.yaml:17")
    assert decision.terms is not None
    assert decision.terms.scopes == (("read", "admin"), ("speak",))
    assert allowed(decision) == {"free": True, "paid": True}
    assert allowed(completed("admin", uri="docs://{x}")) == {"free": False, "paid": True}
    assert allowed(completed("read", name="shout")) == {"free": False, "paid": True}
    assert decision.terms is completed("read", "speak", name="greet").terms  # known to the store's side by identity


def test_a_challenge_for_a_completion_names_all_that_it_needs():
    refusal = completed(name="greet").refusal
    assert refusal is not None
    assert (refusal.scopes, refusal.rule) == (("read", "speak"), "p1.yaml:17")
    refusal = completed("read", name="greet").refusal
    assert refusal is not None
    assert (refusal.scopes, refusal.rule) == (("read", "speak"), "p1.yaml:14")


def test_a_completion_must_be_declared_itself():
    text = POLICY.replace("  completion/complete: {scopes: [read], uses: {requests: 1}}\n", "")
    message = asked("completion/complete")
    assert code(decide(policy(text), message, caller("admin", "speak"))) is ErrorCode.METHOD_NOT_ALLOWED


# --- subscriptions -------------------------------------------------------------------------------


def listened(*listed: str, scopes: tuple[str, ...] = ("listen", "admin")) -> Decision:
    filters = {"toolsListChanged": True, "resourceSubscriptions": list(listed)}
    return judged("subscriptions/listen", *scopes, revision=NEW, notifications=filters)


@pytest.mark.parametrize(
    ("listed", "scopes", "expected"),
    [
        ((), ("listen",), None),
        ((), ("admin",), ErrorCode.INSUFFICIENT_SCOPE),
        (("docs://a", "docs://b"), ("listen", "read"), None),
        (("docs://a",), ("listen",), ErrorCode.INSUFFICIENT_SCOPE),
        (("docs://free",), ("listen",), None),
        (("docs://a", "docs://secret/x"), ("listen", "read"), ErrorCode.INSUFFICIENT_SCOPE),
        (("docs://a", "docs://secret/x"), ("listen", "admin"), None),
        (("docs://a", "file:///x"), ("listen", "admin"), ErrorCode.RESOURCE_UNKNOWN),
        (("docs://a", "docs://a/../x"), ("listen", "admin"), ErrorCode.PARAMS_MALFORMED),
        (("docs://SECRET/x",), ("listen", "admin"), ErrorCode.PARAMS_MALFORMED),
    ],
)
def test_every_resource_that_is_listened_to_is_judged(
    listed: tuple[str, ...], scopes: tuple[str, ...], expected: ErrorCode | None
):
    assert code(listened(*listed, scopes=scopes)) is expected


def test_a_subscription_meets_the_plan_of_all_it_names_and_costs_its_own_price():
    assert allowed(listened("docs://a")) == {"free": True, "paid": True}
    assert allowed(listened("docs://a", "docs://secret/x")) == {"free": False, "paid": True}
    assert [each.name for each in listened("docs://secret/x").demands] == ["requests"]
    assert listened("docs://a", "docs://secret/x").terms is listened("docs://secret/y", "docs://b", "docs://c").terms


def test_older_revisions_have_no_subscriptions_of_this_kind():
    decision = judged("subscriptions/listen", "listen", notifications={})
    assert code(decision) is ErrorCode.METHOD_NOT_ALLOWED


# --- no spelling escapes -------------------------------------------------------------------------

SPELLINGS = st.lists(
    st.sampled_from(
        [
            "/",
            "a",
            "secret",
            "SECRET",
            "%73ecret",
            "..",
            ".",
            "%2e%2e",
            "%2f",
            "%252f",
            ";",
            "?",
            "#",
            "\\",
            "\uff0f",
            "@",
        ]
    ),
    max_size=8,
).map(lambda parts: "docs://" + "".join(parts))


@given(SPELLINGS)
def test_an_allowed_uri_is_under_its_pattern_for_every_reader(uri: str):
    """A token without `admin` never gets at what a looser reader finds under `docs://secret/`."""
    decision = judged("resources/read", "read", uri=uri)
    if decision.refusal is not None:
        return
    path = uris.without_query(uris.fold(uri))
    assert not path.startswith("docs://secret/")
    assert not {".", ".."} & set(path.removeprefix("docs://").split("/"))
    assert uri.startswith("docs://")
