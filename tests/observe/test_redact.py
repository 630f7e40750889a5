"""Free text that goes to the log holds nothing that could be used."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.observe.redact import cut, identifier, operand, sentence

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    "text",
    [
        "got CANARY7{jwt}",
        "Authorization: Bearer CANARY7",
        "authorization='Basic CANARY7 x'",
        "bearer CANARY7",
        "DPoP CANARY7",
        "Cookie: a=CANARY7; b=CANARY7",
        "cannot fetch https://host/path?code=CANARY7&state=CANARY7",
        "cannot fetch https://host/path?CANARY7",
        "redis://user:CANARY7@host:6379/0 refused",
        '{"access_token": "CANARY7", "refresh_token":"CANARY7"}',
        "client_secret=CANARY7",
        "password: 'CANARY7 with spaces'",
        "x-api-key: CANARY7",
        "code=CANARY7",
        "the key CANARY7-0123456789-abcdefghijkl is unknown",
        "CANARY7" * 10 + "." + "CANARY7" * 10,
    ],
)
def test_secrets_do_not_survive(text: str):
    assert "CANARY7" not in sentence(text.replace("CANARY7{jwt}", JWT.replace("c2lnbmF0dXJl", "CANARY7")))


@pytest.mark.parametrize(
    "text",
    [
        "the backend closed the connection before its answer ended",
        "KeyError at proxy/gates.py:42 in enter",
        "the backend answered 503",
        "cannot connect to the backend: ConnectionRefusedError",
        "settle of search_rows: length() of a missing value",
        "status code: 503",
        "policies/storeinspect.yaml:120: the expression gave a string",
        "is this a question?",
    ],
)
def test_error_sentences_survive(text: str):
    assert sentence(text) == text


def test_identifiers_stay_whole_but_for_a_url_s_query_and_userinfo():
    assert identifier("0f8fad5b-d9cb-469f-a165-70867728950e") == "0f8fad5b-d9cb-469f-a165-70867728950e"
    assert identifier("https://client.example/id.json") == "https://client.example/id.json"
    assert identifier("https://u:p@client.example/id?key=CANARY") == "https://[hidden]@client.example/id?[hidden]"
    assert identifier("what?ever") == "what?ever"


@pytest.mark.parametrize(
    "text",
    [
        "api://0f8fad5b-d9cb-469f-a165-70867728950e",
        "https://login.microsoftonline.com/0f8fad5b-d9cb-469f-a165-70867728950e/v2.0",
        "its aud is not accepted (found 0f8fad5bd9cb469fa16570867728950e; accepted https://mcp.example.com/mcp)",
        "mcp:token:read api://x/contacts.reveal",
        "https://example.com/claims#roles",
    ],
)
def test_values_to_compare_stay_whole(text: str):
    assert operand(text) == text


@pytest.mark.parametrize(
    "text",
    [
        f"found {JWT.replace('c2lnbmF0dXJl', 'CANARY')}",
        "https://host/path?code=CANARY",
        "https://host/callback#access_token=CANARY",
        "https://user:CANARY@host/",
        "https://CANARY@host/",
    ],
)
def test_values_to_compare_hold_no_token_or_query(text: str):
    assert "CANARY" not in operand(text)


@given(st.text(), st.integers(1, 50))
def test_cut_keeps_to_the_limit(text: str, limit: int):
    assert len(cut(text, limit)) <= limit
    assert len(text) > limit or cut(text, limit) == text


@given(st.text(max_size=3000))
def test_any_text_is_handled(text: str):
    assert len(sentence(text)) <= 300


def test_long_runs_take_no_long_time():
    assert len(sentence("a" * 1_000_000)) <= 300
    assert len(sentence("token" * 200_000)) <= 300
    assert len(sentence("?" * 1_000_000)) <= 300
    for text in ("#" * 1_000_000, "eyJ" * 300_000, "://" * 300_000, "a?" * 500_000):
        assert len(operand(text)) <= 256
