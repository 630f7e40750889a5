"""The scripted client, played against a stand-in: it sees right from wrong, and shows everything."""

import json
from contextlib import asynccontextmanager

import pytest
from mcp.client.auth import OAuthFlowError

from sidecar.demo import backend as demo_backend
from sidecar.demo import issuer as demo_issuer
from sidecar.demo.client import NOT_SHOWN, SCENES, Answer, Memory, Stage, connect, play, read_answer
from sidecar.errors import ErrorCode
from sidecar.protocol.answers import REFUSAL_KEY
from tests.demo import front as stand_in

REFUSED_SCENES = [scene for scene in SCENES if scene.code is not None]


@asynccontextmanager
async def staged(**how):
    """A stage with everything on it."""
    issuer = demo_issuer.Issuer(keys=[demo_issuer.Signer("ES256")])
    backend = demo_backend.Backend(slow=0.8)
    async with (
        demo_issuer.serving(issuer),
        demo_backend.serving(backend) as behind,
        stand_in.serving(stand_in.Front(issuer, behind, **how)) as front,
    ):
        yield Stage(front.url, issuer, backend, front)


@pytest.mark.parametrize("bare", [False, True])
async def test_the_whole_story(bare):
    lines: list[str] = []
    async with staged(bare=bare) as stage:
        shown = await play(stage, say=lines.append)
    assert [one.line() for one in shown if not one.as_expected] == []
    assert [one.scene for one in shown] == list(SCENES)
    assert lines == [one.line() for one in shown]
    # Only the two successful reveals got through, however many others tried.
    assert len(stage.backend.calls("reveal_contacts")) == 2
    assert stage.backend.calls("drop_tables") == []
    # One login, and one more for the scope that was missing.
    assert stage.memory.logins == 2
    assert stage.operator.accounts["ada"].paid == {"c1", "c2"}


async def test_the_story_can_be_told_again():
    async with staged() as stage:
        for _ in range(2):
            again = Stage(stage.url, stage.issuer, stage.backend, stage.operator)
            shown = await play(again, say=lambda line: None)
            assert [one.line() for one in shown if not one.as_expected] == []


@pytest.mark.parametrize("scene", REFUSED_SCENES, ids=lambda scene: scene.title)
async def test_a_sidecar_without_one_refusal_is_found_out(scene, monkeypatch):
    monkeypatch.setattr("sidecar.demo.client.SCENES", (scene,))
    async with staged(blind=frozenset({scene.code})) as stage:
        [shown] = await play(stage, say=lambda line: None)
    assert not shown.as_expected
    assert shown.line().startswith("FAILED")


async def test_a_sidecar_that_is_not_there_fails_every_scene():
    async with staged() as stage:
        stage.url = "http://127.0.0.1:9/mcp"
        stage.issuer.resources = (stage.url,)
        stage.waits = 0
        shown = await play(stage, say=lambda line: None)
    assert not any(one.as_expected for one in shown)
    assert all("FAILED" in one.line() and one.problem for one in shown)


async def test_what_a_deployment_cannot_show_is_left_out(monkeypatch):
    monkeypatch.setattr("sidecar.demo.client.SCENES", REFUSED_SCENES[:2])
    async with staged() as stage:
        shown = await play(stage, skip={ErrorCode.REQUEST_MALFORMED}, say=lambda line: None)
    assert [one.scene for one in shown] == [REFUSED_SCENES[1]]


def test_every_refusal_is_shown_or_says_why_not():
    shown = {scene.code for scene in SCENES if scene.code is not None}
    assert shown | set(NOT_SHOWN) == set(ErrorCode)
    assert not shown & set(NOT_SHOWN)
    assert len({scene.title for scene in SCENES}) == len(SCENES)


@pytest.mark.parametrize("mode", ["auto", "legacy", "2026-07-28"])
async def test_a_client_logs_in_in_every_revision(mode):
    async with staged() as stage:
        await stage.set_up()
        memory = Memory()
        async with connect(stage.url, mode=mode, memory=memory) as client:
            assert (await client.list_tools()).tools
    assert memory.logins == 1
    assert memory.tokens is not None
    assert memory.tokens.scope == "usage:read stores:read offline_access"


async def test_a_kept_memory_needs_no_second_login():
    async with staged() as stage:
        await stage.set_up()
        memory = Memory()
        for _ in range(2):
            async with connect(stage.url, memory=memory):
                pass
    assert memory.logins == 1


async def test_a_person_who_denies_ends_the_login():
    async with staged() as stage:
        await stage.set_up()
        stage.issuer.approves = frozenset()
        with pytest.RaisesGroup(pytest.RaisesExc(OAuthFlowError, match="access_denied"), flatten_subgroups=True):
            async with connect(stage.url):
                pass


# --- reading answers


def read(status, body, media_type="application/json", **headers):
    text = body if isinstance(body, str) else json.dumps(body)
    return read_answer(status, {"content-type": media_type, **headers}, text.encode())


CODE = {"code": "quota_exceeded"}


@pytest.mark.parametrize(
    "body",
    [
        {"result": {"isError": True, "content": [{"type": "text", "text": "Used up."}], "_meta": {REFUSAL_KEY: CODE}}},
        {"error": {"code": 4290, "message": "Used up.", "data": CODE}},
        {"error": {"code": 4290, "message": "Used up.", "data": {REFUSAL_KEY: CODE}}},
        {"type": "about:blank", "title": "Used up.", **CODE},
    ],
)
def test_a_code_is_found_in_every_shape(body):
    answer = read(200, body)
    assert (answer.code, answer.sentence) == ("quota_exceeded", "Used up.")
    assert answer.shows(ErrorCode.QUOTA_EXCEEDED, 200)
    assert not answer.shows(ErrorCode.PLAN_REQUIRED, 200)


def test_the_last_event_is_the_response():
    progress = json.dumps({"method": "notifications/progress"})
    done = json.dumps({"result": {"content": []}})
    answer = read(200, f"data: {progress}\n\n: alive\n\ndata: {done}\n\n", "text/event-stream")
    assert answer.result == {"content": []}
    assert answer.shows(None, 200)


@pytest.mark.parametrize(("status", "body"), [(502, "<html>"), (500, ""), (404, "[1]")])
def test_what_cannot_be_read_is_still_a_refusal(status, body):
    answer = read(status, body, "text/html")
    assert answer.refused
    assert not answer.shows(ErrorCode.BACKEND_UNAVAILABLE, 502)
    assert read(200, "", "text/event-stream").result is None


def test_an_answer_without_a_code_is_compared_by_its_number_or_challenge():
    assert Answer(404, rpc=-32601).shows(ErrorCode.METHOD_NOT_ALLOWED, 404)
    assert not Answer(404, rpc=-32602).shows(ErrorCode.METHOD_NOT_ALLOWED, 404)
    assert Answer(401, challenge="Bearer").shows(ErrorCode.TOKEN_MISSING, 401)
    assert not Answer(401).shows(ErrorCode.TOKEN_MISSING, 401)
    assert not Answer(200, rpc=-32601).shows(ErrorCode.METHOD_NOT_ALLOWED, 404)
    assert not Answer(500).shows(None, 500)
