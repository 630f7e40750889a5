"""Compare how other parsers read an accepted body and the forwarded one."""

from __future__ import annotations

import base64
import json
import struct
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import orjson

from sidecar.config.documents.merging import parse
from sidecar.errors import Refusal
from sidecar.model import Call, Caller
from sidecar.policy.decide import decide
from sidecar.policy.language.compile import compile_policy
from sidecar.protocol import headers, jsonrpc, revisions
from sidecar.protocol.strict import strictjson
from tests.support.issuer import SCOPES
from tests.support.node import node
from tests.support.rig import LEGACY
from tests.wire.wire import POLICY

Parser = Callable[[bytes], Any]

PYTHON: Final[Mapping[str, Parser]] = {"json": json.loads, "orjson": orjson.loads}
COMPILED: Final = compile_policy([parse("policy.yaml", json.dumps(POLICY))])
ADA: Final = Caller("main", "https://issuer.example", "ada", "ada", "cli-1", frozenset(SCOPES), 0, 1)


@contextmanager
def node_parser() -> Iterator[Parser]:
    """`JSON.parse` in one process that reads document after document; skips the test without Node."""
    script = Path(__file__).with_name("reader.mjs")
    with subprocess.Popen([node(), script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        streams = process.stdin, process.stdout
        try:
            yield lambda data: _asked(*streams, data)
        finally:
            process.kill()


def _asked(stdin: IO[str], stdout: IO[str], data: bytes) -> Any:
    stdin.write(base64.b64encode(data).decode() + "\n")
    stdin.flush()
    answer = json.loads(stdout.readline())
    if "refused" in answer:
        raise ValueError(answer["refused"])
    return _untagged(answer["read"])


def _untagged(tree: list[Any]) -> Any:
    kind, value = tree
    if kind == "n":
        return struct.unpack(">d", int(value, 16).to_bytes(8))[0]
    if kind == "a":
        return [_untagged(item) for item in value]
    return {key: _untagged(item) for key, item in value} if kind == "o" else value


def same(value: Any) -> Any:
    """A value as parsers have to agree on it: numbers as doubles, of which there is one zero."""
    if isinstance(value, dict):
        return {key: same(item) for key, item in value.items()}
    if isinstance(value, list):
        return [same(item) for item in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return ("number", float(value) or 0.0)
    return value


@dataclass(frozen=True, slots=True)
class Reading:
    """Stage that refused a body: `message` (the strict reader), `call`, `policy`, or none: forwarded."""

    refused: str | None
    forwarded: bytes | None = None


def check(body: bytes, parsers: Mapping[str, Parser]) -> Reading:
    """Read a body as the pipeline does, and hold whatever is accepted against all parsers.

    Raises:
        AssertionError: a parser reads something else than what was judged.
    """
    try:
        message = jsonrpc.read(body)
    except Refusal:
        return Reading("message")
    _agree(body, strictjson.parse(body).plain, parsers)
    try:
        call = revisions.call_of(message, _mirrored(message))
    except Refusal:
        return Reading("call")
    decision = decide(COMPILED, call, ADA)
    if decision.refusal is not None or decision.document is None:
        return Reading("policy")
    forwarded = strictjson.dumps(decision.document)
    _agree(forwarded, _judged(call, decision.arguments), parsers)
    again = jsonrpc.read(forwarded)
    assert (again.kind, again.id, again.method) == (call.kind, call.id, call.method)
    assert strictjson.dumps(again.document) == forwarded
    return Reading(None, forwarded)


def _mirrored(message: jsonrpc.Message) -> headers.McpHeaders:
    """Headers that agree with the body, so that it is the body that is judged."""
    claimed = revisions.claimed_version(message.params)
    mirrored = message.params.get(headers.NAME_PARAMS.get(message.method, ""))
    version = claimed if isinstance(claimed, str) else LEGACY
    return headers.McpHeaders(version, message.method or None, mirrored if isinstance(mirrored, str) else None)


def _judged(call: Call, arguments: Mapping[str, Any]) -> Any:
    """The message that gates 3 and 4 saw."""
    assert call.document is not None
    judged: dict[str, Any] = {"jsonrpc": "2.0"}
    if call.id is not None:
        judged["id"] = call.id
    if not call.method:
        return {**judged, **{name: call.document[name] for name in ("result", "error") if name in call.document}}
    judged["method"] = call.method
    if "params" in call.document:
        judged["params"] = dict(call.params)
    tool = COMPILED.tools.get(call.tool or "") if call.method == "tools/call" else None
    if tool is not None and ("arguments" in call.params or arguments):
        judged["params"]["arguments"] = arguments
    return judged


def _agree(body: bytes, judged: Any, parsers: Mapping[str, Parser]) -> None:
    expected = same(judged)
    for name, read in parsers.items():
        try:
            value = read(body)
        except (ValueError, RecursionError) as error:
            raise AssertionError(f"{name} refuses what was accepted: {body!r}") from error
        assert same(value) == expected, f"{name} reads something else: {body!r}"
