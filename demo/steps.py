"""Steps of the story from the first login to running out of credits, in the order in which an operator meets them."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Final

from demo.answers import Answer
from demo.client import Wire, describe
from demo.narration import ACCOUNT, Step, Story, expect, why
from demo.processes import until
from sidecar.errors import ErrorCode

TWO: Final = {"contact_ids": ["c1", "c2"], "confirm_spend_credits": True}
FOUR: Final = {"contact_ids": ["c3", "c4", "c5", "c6"], "confirm_spend_credits": True}


async def _set_up(story: Story) -> None:
    await story.command("account", "set", ACCOUNT, "--plan", "team", "--create")
    await story.command("credits", "grant", ACCOUNT, "contact", "5")
    await story.count(0)


async def _no_token(story: Story) -> None:
    ask = story.stage.ask
    answer = await story.check(await ask.call("list_taxonomy", token=None), ErrorCode.TOKEN_MISSING)
    challenge = answer.challenge or ""
    expect(challenge.startswith("Bearer ") and "resource_metadata=" in challenge, "a challenge that names the metadata")
    expect("error=" not in challenge, "no error when no token was sent")
    documents = []
    for path in ("/.well-known/oauth-protected-resource/mcp", "/.well-known/oauth-protected-resource"):
        wire, document = await ask.metadata(path)
        story.say(f"> {wire.request} -> {wire.answer.status}")
        documents.append(document)
    story.say(f"< {json.dumps(documents[0])}")
    expect(documents[0] == documents[1], "both locations have the same document")
    expect(documents[0]["resource"] == story.stage.url, "the metadata names the resource")
    expect(documents[0]["authorization_servers"] == [story.stage.issuer_url], "the metadata names the issuer")


async def _wrong_audience(story: Story) -> None:
    token = await story.stage.token(audience="https://other.example/mcp")
    story.secrets.add(token)
    await story.check(await story.stage.ask.call("list_taxonomy", token=token), ErrorCode.TOKEN_INVALID)


async def _log_in(story: Story) -> None:
    async with story.client() as client:
        story.steps_of(story.memory.wires)
        expect(story.memory.logins == 1, "the browser is opened once")
        start = len(story.memory.wires)
        tools = sorted(tool.name for tool in (await client.list_tools()).tools)
        story.show(Wire(story.memory.wires[start].request, Answer(200, result={"tools": tools})))
        expect("get_usage" in tools and "reveal_contacts" in tools, "the policy's tools are listed")
        await story.play(client, "list_taxonomy")


async def _step_up(story: Story) -> None:
    tokens = story.memory.tokens
    expect(tokens is not None and "contacts:" not in (tokens.scope or ""), "the token was not issued for contacts")
    async with story.client() as client:
        await story.play(client, "search_shopify_contacts", {"domain": "apparel-1.example", "limit": 5})
    challenged = [wire for wire in story.memory.wires if wire.answer.status == 403]
    expect(len(challenged) == 1 and story.memory.logins == 2, "one challenge for the scope, and one more login")
    story.codes[ErrorCode.INSUFFICIENT_SCOPE] = 403
    challenge = challenged[0].answer.challenge or ""
    story.say(f"the challenge was: {challenge}")
    expect('error="insufficient_scope"' in challenge and "contacts:search" in challenge, "it names the scope")


async def _unconfirmed(story: Story) -> None:
    async with story.client() as client:
        answer = await story.play(
            client, "reveal_contacts", {"contact_ids": TWO["contact_ids"]}, ErrorCode.CONFIRMATION_REQUIRED
        )
    expect("2 of your 5 contact credits" in answer.sentence, "it names the price and the balance")
    expect((await story.money()).spent == 0, "nothing is spent")


async def _paid(story: Story) -> None:
    async with story.client() as client:
        answer = await story.play(client, "reveal_contacts", TWO)
    expect(len(answer.data["contacts"]) == 2, "two contacts")
    _receipt(story, answer, spent=2)
    expect((await story.money()).spent == 2, "2 credits are spent")


async def _again(story: Story) -> None:
    async with story.client() as client:
        answer = await story.play(client, "reveal_contacts", TWO)
    _receipt(story, answer, spent=0)
    expect((await story.money()).spent == 2, "nothing more is spent")


def _receipt(story: Story, answer: Answer, *, spent: int) -> None:
    credits = answer.receipt.get("credits")
    story.say(f"the receipt in _meta says: {json.dumps({'credits': credits})}")
    expect(credits == {"contact": {"spent": spent, "left": 3}}, f"the receipt has {spent} spent and 3 left")


async def _rows(story: Story) -> None:
    async with story.client("legacy") as client:
        story.steps_of(story.memory.wires)
        expect(client.protocol_version < "2026", "an older revision is spoken")
        answer = await story.play(client, "search_shopify_stores", {"limit": 25})
        expect(len(answer.data["rows"]) == 25, "25 rows")
        answer = await story.play(client, "search_shopify_stores", {"limit": 25}, ErrorCode.QUOTA_EXCEEDED)
        expect(answer.facts.get("retry_after"), "it gives the seconds until a retry can succeed")
        answer = await story.play(client, "get_usage", calls=0)
    rows = answer.data["quotas"]["search_rows"]["month"]
    expect((rows["used"], rows["limit"]) == (27, 40), "27 of the 40 rows are used: 2 previews and 25 stores")


async def _reveal_too_many(story: Story) -> None:
    async with story.client() as client:
        answer = await story.play(client, "reveal_contacts", FOUR, ErrorCode.INSUFFICIENT_CREDITS)
        expect((answer.facts.get("price"), answer.facts.get("balance")) == (4, 3), "it costs 4, and 3 are there")
        await story.money()
        await story.command("credits", "grant", ACCOUNT, "contact", "5")
        await story.play(client, "reveal_contacts", FOUR)
    expect((await story.money()).credits == 4, "4 credits are left")


# --- revoking ----------------------------------------------------------------------------------


async def _revoked(story: Story) -> None:
    memory = story.memory
    client_id = memory.client.client_id if memory.client is not None else ""
    await story.command("consent", "revoke", ACCOUNT, client_id or "")
    second = int(time.time())
    await blocked_at_once(story)
    await _refresh(story, second)
    async with story.client() as client:
        answer = await story.play(client, "list_taxonomy", code=ErrorCode.CONSENT_REVOKED)
    expect(answer.facts.get("manage_url"), "it gives the URL for managing clients")
    await approve_again(story)


async def approve_again(story: Story) -> None:
    """Log in once more: the issuer mirrors the approval, which ends the revocation."""
    story.say("The person approves the client again:")
    story.memory.tokens = None
    async with story.client() as client:
        story.steps_of(story.memory.wires)
        await story.play(client, "list_taxonomy")


async def blocked_at_once(story: Story) -> None:
    """Call once more: the answer is 401, so the client opens the browser, and this person closes it."""
    memory = story.memory
    memory.declines = True
    try:
        async with asyncio.timeout(30), story.client() as client:
            await client.call_tool("list_taxonomy", {})
    except Exception as error:  # noqa: BLE001 - the client raises its own error for a failed login
        failed = why(error)
    else:
        failed = ""
    finally:
        memory.declines = False
    [refused, *_] = [wire for wire in memory.wires if "tools/call" in wire.request]
    await story.check(refused, ErrorCode.CONSENT_REVOKED, status=401)
    story.say(f"the client opens a browser, the person closes it: {failed}")
    expect("browser was closed" in failed, "the client asks for a login")


async def _refresh(story: Story, revoked: int) -> None:
    """Refresh the token: the issuer still does that, because only the consent has ended."""
    memory, stage = story.memory, story.stage

    async def later() -> bool:  # `iat` has whole seconds
        return int(time.time()) > revoked

    await until("the next second", later)
    if memory.tokens is None or memory.client is None:
        raise LookupError("the client has no tokens")
    form = {
        "grant_type": "refresh_token",
        "refresh_token": memory.tokens.refresh_token,
        "client_id": memory.client.client_id,
    }
    answer = await stage.http.post(f"{stage.issuer_url}/oauth2/token", data=form)
    fresh = answer.json()
    story.say(f"> {describe(answer.request)}")
    story.say(f"< {answer.status_code} a new access token and a new refresh token, for {fresh.get('scope')}")
    expect(answer.status_code == 200, "the issuer refreshes the token of a revoked client")
    memory.tokens = type(memory.tokens).model_validate(fresh)


STEPS: Final = (
    Step("An account", "The operator gives ada a plan and 5 contact credits.", _set_up),
    Step(
        "No token",
        "401 with a challenge that names the metadata, and the metadata name the issuer.",
        _no_token,
    ),
    Step(
        "A token for another server",
        "401: a token is valid only for the audience that it was issued for.",
        _wrong_audience,
    ),
    Step(
        "Logging in by code + PKCE, from the bare URL",
        "The official client has only the URL. It finds the issuer, registers, opens the browser, and "
        "calls a free tool. The issuer mirrors the approval into the sidecar's store.",
        _log_in,
    ),
    Step(
        "A missing scope, and step-up",
        "403 names the scope; the client logs in once more, for the wider scope, and the same call succeeds.",
        _step_up,
    ),
    Step(
        "A missing confirmation, with its price",
        "After one more step-up: the call would spend credits and lacks the confirmation. Nothing is spent.",
        _unconfirmed,
    ),
    Step("A paid call", "Two contacts, two credits.", _paid),
    Step("The same contacts again", "Free: they are already paid.", _again),
    Step(
        "The row quota used up, by a client of an older revision",
        "25 rows fit into the 40 of the month, 25 more do not. The sidecar itself answers with the remaining quota.",
        _rows,
    ),
    Step(
        "Credits run out",
        "Four contacts cost 4 and 3 are left: refused, nothing is spent. With more credits the same call succeeds.",
        _reveal_too_many,
    ),
)

REVOKED: Final = Step(
    "A revoked client",
    "Refused on its next call, and also with a token refreshed since, because the issuer still "
    "refreshes tokens. A new approval ends that.",
    _revoked,
)
