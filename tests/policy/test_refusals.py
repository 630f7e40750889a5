import contextlib

import pytest

from sidecar.errors import ErrorCode, Refusal, Shape


def test_a_refusal_cannot_be_changed():
    given = {"plan": "free"}
    refusal = Refusal(ErrorCode.PLAN_REQUIRED, data=given)
    given["plan"] = "growth"
    with pytest.raises(AttributeError, match=r"replace\(rule="):
        refusal.rule = "p.yaml:3"
    with pytest.raises(TypeError):
        refusal.data["plan"] = "growth"  # type: ignore[index]
    assert (refusal.rule, refusal.data) == (None, {"plan": "free"})


def test_replace_makes_a_new_refusal_and_keeps_the_rest():
    refusal = Refusal(ErrorCode.CONSENT_REVOKED, "Gone.", log="l", shape=Shape.CHALLENGE, data={"a": 1}, retry_after=2)
    changed = refusal.replace(rule="p.yaml:3", data={**refusal.data, "b": 2})
    assert (refusal.rule, refusal.data) == (None, {"a": 1})
    assert (changed.rule, changed.data) == ("p.yaml:3", {"a": 1, "b": 2})
    assert (changed.code, changed.detail, changed.log) == (refusal.code, "Gone.", "l")
    assert (changed.shape, changed.status, changed.retry_after) == (Shape.CHALLENGE, 401, 2)


def test_a_refusal_passes_through_context_managers():
    @contextlib.contextmanager
    def step():
        yield

    with pytest.raises(Refusal) as caught, step():
        raise Refusal(ErrorCode.TOOL_UNKNOWN) from ValueError()
    assert isinstance(caught.value.__cause__, ValueError)
