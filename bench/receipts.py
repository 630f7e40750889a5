"""Cost of adding a receipt to a result: spliced into the backend's text, or by encoding the message again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from sidecar.protocol import results
from sidecar.protocol.meta import RECEIPT_KEY
from sidecar.protocol.stamping import stamped
from sidecar.protocol.strict import strictjson

RECEIPT = {
    "request_id": "a0b8c93939394e1a833291423559ce4a",
    "quotas": {"requests": {"spent": 1, "left": 59, "limit": 60, "window": "minute", "resets_in": 12}},
    "credits": {"contact": {"spent": 2, "left": 3}},
}
ROWS = {"1 KB": 5, "100 KB": 550, "10 MB": 55_000}


def message(count: int, *, several: bool) -> bytes:
    """A search result: rows, and the same as text; `several` adds a second `_meta`, to a content."""
    rows = [{"id": f"row-{n}", "name": "Café, 3rd floor", "score": 1.0, "tags": ["a", "b"]} for n in range(count)]
    content: dict[str, Any] = {"type": "text", "text": json.dumps(rows)}
    result: dict[str, Any] = {"content": [content], "structuredContent": {"rows": rows}}
    if several:
        content["_meta"] = result["_meta"] = {"version": 1.0}
    return json.dumps({"jsonrpc": "2.0", "id": 1, "result": result}).encode()


def milliseconds(work: Callable[[], object], size: int) -> float:
    """Milliseconds of the best of three rounds, each of about 20 MB."""
    times = max(1, 20_000_000 // size)
    rounds = []
    for _ in range(3):
        began = time.perf_counter()
        for _ in range(times):
            work()
        rounds.append((time.perf_counter() - began) / times * 1000)
    return min(rounds)


def into_text(data: bytes, response: results.Response) -> bytes:
    """Splice, as the sidecar does."""
    return stamped(data.decode(), response.result, RECEIPT).encode()


def encoded_again(response: results.Response) -> bytes:
    """Encode again with orjson: fast, but numbers are written differently."""
    return response.with_result({**(response.result or {}), "_meta": {RECEIPT_KEY: RECEIPT}})


def literals_kept(data: bytes) -> bytes:
    """Encode again like requests, with number literals kept."""
    document = strictjson.parse(data).exact
    return strictjson.dumps({**document, "result": {**document["result"], "_meta": {RECEIPT_KEY: RECEIPT}}})


def figures(count: int) -> list[float]:
    """Milliseconds of each way, in the order of `HEADS`."""
    plain, several = message(count, several=False), message(count, several=True)
    response, both, size = results.read_response(plain), results.read_response(several), len(plain)
    return [
        milliseconds(lambda: results.read_response(plain), size),
        milliseconds(lambda: into_text(plain, response), size),
        milliseconds(lambda: into_text(several, both), size),
        milliseconds(lambda: encoded_again(response), size),
        milliseconds(lambda: literals_kept(plain), size),
    ]


HEADS = ("read", "into text", "member by member", "encoded again", "literals kept")


if __name__ == "__main__":
    print(f"{'ms':8}" + "".join(f"{head:>18}" for head in HEADS))
    for name, count in ROWS.items():
        print(f"{name:8}" + "".join(f"{figure:18.3f}" for figure in figures(count)))
