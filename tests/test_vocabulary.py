"""Records and enums of the vocabulary behave like frozen dataclasses and `StrEnum`."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace

import pytest

from sidecar.errors import ErrorCode, Gate
from sidecar.model import AmountKind, Demand
from sidecar.outcome import Action, Event
from sidecar.vocabulary import TextEnum


@pytest.mark.parametrize("kind", [Gate, Event, Action, AmountKind])
def test_members_are_their_texts(kind: type[TextEnum]):
    for member in kind:
        text = str(member)
        assert (member.value, type(member.value)) == (text, str)
        assert (member == text, hash(member) == hash(text), f"{member}", kind(text)) == (True, True, text, member)
        assert copy.deepcopy(member) is member
        assert pickle.loads(pickle.dumps(member)) is member


def test_an_unknown_text_is_no_member():
    with pytest.raises(ValueError, match="'nothing' is not a valid Gate"):
        Gate("nothing")


def test_codes_are_keys_and_have_their_columns():
    assert {code: code.id for code in ErrorCode}[ErrorCode.TOOL_UNKNOWN] == "tool_unknown"
    assert all(code.row is code.value and code.id == code.name.lower() for code in ErrorCode)


def test_records_are_compared_and_hashed_by_their_fields():
    demand = Demand(AmountKind.QUOTA, "requests", 1)
    assert demand == Demand(AmountKind.QUOTA, "requests", 1)
    assert hash(demand) == hash(Demand(AmountKind.QUOTA, "requests", 1))
    assert replace(demand, reserve=2) != demand
    with pytest.raises(AttributeError):
        demand.other = 1  # type: ignore[attr-defined]
