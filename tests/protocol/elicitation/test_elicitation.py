"""Elicitation: capabilities by revision, questions that the official SDK reads, and answers read strictly."""

from __future__ import annotations

from typing import Any

import mcp_types as types
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.model import Revision
from sidecar.protocol.elicitation.elicitation import (
    QUESTION_PREFIX,
    AnswerAction,
    ElicitationMode,
    action_of,
    answer_of,
    asked_handle,
    completed,
    declared_modes,
    form,
    is_question_id,
    page,
    question_id,
    read_modes,
    request,
    usable_modes,
    withdrawn,
    written_modes,
)
from sidecar.protocol.jsonrpc import is_request_id

FORM, URL = ElicitationMode.FORM, ElicitationMode.URL
HANDLE, NUMBER = "0123456789abcdef" * 2, "fedcba9876543210" * 2
FIRST, JUNE, NOVEMBER, MODERN = Revision

ASKED = question_id(HANDLE, NUMBER)

handles = st.text("0123456789abcdef", min_size=32, max_size=32)


@pytest.mark.parametrize(
    ("declared", "modes"),
    [
        ({"elicitation": {}}, {FORM}),
        ({"elicitation": {"form": {}}}, {FORM}),
        ({"elicitation": {"url": {}}}, {URL}),
        ({"elicitation": {"form": {}, "url": {}}}, {FORM, URL}),
        ({"elicitation": {"form": {"applyDefaults": True}}}, {FORM}),
        ({"elicitation": {"later": {}}}, {FORM}),
        ({"elicitation": {"url": True}}, set()),
        ({"elicitation": {"form": None}}, set()),
        ({"elicitation": True}, set()),
        ({"elicitation": None}, set()),
        ({"Elicitation": {}}, set()),
        ({}, set()),
        ([], set()),
        (None, set()),
    ],
)
def test_a_client_can_ask_as_it_declares_in_its_revision(declared: object, modes: set[Any]):
    found = declared_modes(declared)
    assert found == modes
    assert usable_modes(found, FIRST) == set()
    assert usable_modes(found, JUNE) == modes & {FORM}
    assert usable_modes(found, NOVEMBER) == usable_modes(found, MODERN) == modes
    assert read_modes(written_modes(found)) == modes


@pytest.mark.parametrize("text", ["", " ", "Form", "formurl", "form,url", "later"])
def test_a_record_with_other_words_names_no_mode(text: str):
    assert read_modes(text) == set()


@given(st.text(max_size=50), handles, handles, st.sampled_from([JUNE, NOVEMBER, MODERN]))
def test_a_form_asks_for_no_input(message: str, handle: str, number: str, revision: Revision):
    asked = request(question_id(handle, number), form(message, revision))
    read = types.ElicitRequestFormParams.model_validate(asked["params"])
    assert (read.message, read.requested_schema["properties"]) == (message, {})
    assert ("mode" in asked["params"]) == (revision is not JUNE)
    assert asked["method"] == "elicitation/create"
    assert is_request_id(asked["id"])
    assert asked_handle(asked["id"]) == handle


@pytest.mark.parametrize("revision", [NOVEMBER, MODERN])
def test_a_page_is_named_with_an_id_where_its_completion_is_reported(revision: Revision):
    asked = page("Confirm.", "https://mcp.example.com/account/confirm/x", HANDLE, revision)
    read = types.ElicitRequestURLParams.model_validate(asked)
    assert read.url == "https://mcp.example.com/account/confirm/x"
    assert read.elicitation_id == (HANDLE if revision is NOVEMBER else None)


def test_notifications_of_a_question_are_those_of_the_specification():
    done = types.ElicitCompleteNotification.model_validate(completed(HANDLE))
    assert done.params.elicitation_id == HANDLE
    ended = types.CancelledNotification.model_validate(withdrawn(ASKED, "expired"))
    assert (ended.params.request_id, ended.params.reason) == (ASKED, "expired")


@pytest.mark.parametrize("id_", [7, None, "", "7", HANDLE, f"x{ASKED}", ASKED.upper()])
def test_ids_of_others_are_no_question(id_: Any):
    assert not is_question_id(id_)
    assert asked_handle(id_) is None


@pytest.mark.parametrize(
    "end",
    ["", "7", HANDLE, f"{HANDLE}.", f"{HANDLE}.7", f"{HANDLE[1:]}.{NUMBER}", f"{HANDLE.upper()}.{NUMBER}"]
    + [f"{HANDLE}.{NUMBER}{end}" for end in ("0", " ", "\n", ".")],
)
def test_an_id_in_the_namespace_without_a_handle_is_of_no_question_but_still_ours(end: str):
    assert is_question_id(f"{QUESTION_PREFIX}{end}")
    assert asked_handle(f"{QUESTION_PREFIX}{end}") is None


@given(st.sampled_from(AnswerAction), st.none() | st.dictionaries(st.text(max_size=5), st.integers(), max_size=3))
def test_an_answer_is_its_action(action: AnswerAction, content: Any):
    result = {"action": action.value, "content": content}
    assert answer_of({"jsonrpc": "2.0", "id": ASKED, "result": result}) is action
    assert action_of({"action": action.value}) is action


@pytest.mark.parametrize(
    "result",
    [
        None,
        [],
        "accept",
        {},
        {"action": "Accept"},
        {"action": "accept "},
        {"action": ["accept"]},
        {"action": True},
        {"action": None},
        {"Action": "accept"},
        {"action": "accept", "content": []},
        {"action": "accept", "content": "yes"},
        {"content": {"action": "accept"}},
    ],
)
def test_anything_else_is_no_answer(result: Any):
    assert action_of(result) is None
    assert answer_of({"jsonrpc": "2.0", "id": ASKED, "result": result}) is None


def test_an_error_is_no_answer():
    error = {"code": -32601, "message": "Method not found"}
    assert answer_of({"jsonrpc": "2.0", "id": ASKED, "error": error}) is None
