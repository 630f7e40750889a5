"""`mcp-sidecar demo`: the whole story, on this machine alone."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import logging
import signal
import sys
import time
from pathlib import Path
from typing import Final

import httpx2

from sidecar.demo import crash, records, scenes, steps
from sidecar.demo.processes import GaveUpError
from sidecar.demo.stage import Stage
from sidecar.demo.telling import ACCOUNT, Story, tell

STEPS: Final = (*steps.STEPS, *scenes.STEPS, *crash.STEPS, *records.STEPS)


def main(keep: bool = False, policy: Path | None = None) -> int:
    """Tell the story.

    Args:
        keep: afterwards leave everything running, and say what to try, until Ctrl-C.
        policy: another policy than the demo's own.

    Returns:
        0 only when every step came out as told; 130 when it was interrupted.
    """
    # What the client logs about refusals it meets is shown by the story itself.
    logging.getLogger("mcp").setLevel(logging.CRITICAL)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # also through a pipe the story is told as it happens
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background of a script it is ignored
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        with Stage(policy) as stage:
            try:
                return asyncio.run(_run(stage, keep))
            finally:
                signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave processes behind
    except KeyboardInterrupt:
        print("\ninterrupted; everything was ended")
        return 130
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


async def _run(stage: Stage, keep: bool) -> int:
    began = time.monotonic()
    async with httpx2.AsyncClient(timeout=30, trust_env=False) as http:
        try:
            await stage.start(http)
        except GaveUpError as error:
            print(f"the demo cannot start: {error}")
            return 1
        _introduce(stage)
        worked = await _tell(Story(stage))
        print(f"\n{'every step came out as told' if worked else 'NOT AS TOLD'} ({time.monotonic() - began:.0f} s)")
        if keep:
            await _keep(stage)
    return 0 if worked else 1


def _introduce(stage: Stage) -> None:
    print("An MCP server without authentication, and the sidecar that protects, polices and meters it.")
    print(f"  sidecar   {stage.url}   (admin {stage.admin})")
    print(f"  issuer    {stage.issuer_url}")
    print(f"  backend   {stage.backend_url}")
    print(f"  files     {stage.config} and policy.yaml beside it, until the end of the demo")
    print("Commands are shown without their `--config` option.")


async def _tell(story: Story) -> bool:
    for number, step in enumerate(STEPS, start=1):
        if not await tell(story, number, step):
            print("\nThe story ends here, as what follows builds on it. The sidecar's last lines:")
            print(story.stage.sidecar.last_words())
            return False
    return True


# --- leaving it running ------------------------------------------------------------------------

_TRY: Final = """
Everything goes on running until Ctrl-C. What to try, in another terminal:

# a token for the client `curl` (the demo's issuer gives them to anybody)
TOKEN=$(curl -s '{token}?client_id=curl')

# what a client without a token is told
curl -si {url} -H 'Content-Type: application/json' -H 'Accept: application/json, text/event-stream' -d '{{}}'

# a free call
curl -s {url} -H "Authorization: Bearer $TOKEN" \\
  -H 'Content-Type: application/json' -H 'Accept: application/json, text/event-stream' \\
  -H 'MCP-Protocol-Version: 2026-07-28' -H 'Mcp-Method: tools/call' -H 'Mcp-Name: list_taxonomy' \\
  -d '{list}'

# reveal a contact; without "confirm_spend_credits" it is refused, with its price
curl -s {url} -H "Authorization: Bearer $TOKEN" \\
  -H 'Content-Type: application/json' -H 'Accept: application/json, text/event-stream' \\
  -H 'MCP-Protocol-Version: 2026-07-28' -H 'Mcp-Method: tools/call' -H 'Mcp-Name: reveal_contacts' \\
  -d '{reveal}'

# what is left, and what the sidecar counts
{command} usage {account} --config {config}
curl -s {admin}/metrics

# revoke the client, and call again
{command} consent revoke {account} curl --config {config}

# edit {policy}, then have it read again
kill -HUP {pid}
"""
_META: Final = (
    '"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}'
)
_LIST: Final = (
    '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_taxonomy","arguments":{},' + _META + "}}"
)
_REVEAL: Final = (
    '{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"reveal_contacts",'
    '"arguments":{"contact_ids":["c20"],"confirm_spend_credits":true},' + _META + "}}"
)


async def _keep(stage: Stage) -> None:
    await stage.operate("consent", "grant", ACCOUNT, "curl")
    print(
        _TRY.format(
            token=stage.token_place,
            url=stage.url,
            list=_LIST,
            reveal=_REVEAL,
            command=f"{sys.executable} -m sidecar",
            account=ACCOUNT,
            config=stage.config,
            admin=stage.admin,
            policy=stage.folder / "policy.yaml",
            pid=stage.sidecar.pid,
        ),
        flush=True,
    )
    with contextlib.suppress(asyncio.CancelledError):  # Ctrl-C is how this ends, and no failure
        await asyncio.Event().wait()
    print("everything is ended")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m sidecar.demo.story", description="Tell the story.")
    parser.add_argument("--keep", action="store_true", help="leave it running")
    parser.add_argument("--policy", type=Path, help="another policy than the demo's own")
    options = parser.parse_args()
    sys.exit(main(options.keep, options.policy))
