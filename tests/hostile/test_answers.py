"""Backend messages that could cost more than their bytes: answers, events, receipts to be written, and lists."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import suppress

import pytest

from sidecar.errors import Refusal
from sidecar.protocol import results
from sidecar.protocol.results import Unusable
from sidecar.protocol.sse import sse
from sidecar.protocol.stamping import stamped
from sidecar.protocol.tasks import task_ids
from sidecar.runtime.process import COLLECTOR
from tests.hostile.bodies import SIZE, UNSORTED, filled, keyed, listed, long_key
from tests.hostile.work import assert_linear

FORGED = '"mcp-policy-sidecar/receipt":1'
ROWS = listed('{"a":0}')


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """Collect garbage as the serving process does: nesting is what the collector follows."""
    before = gc.get_threshold()
    gc.set_threshold(*COLLECTOR)
    yield
    gc.set_threshold(*before)


def answer(result: str, meta: str = FORGED) -> bytes:
    return f'{{"jsonrpc":"2.0","id":1,"result":{{"a":{result},"_meta":{{{meta}}}}}}}'.encode()


def stairs(piece: str, levels: int = 50) -> str:
    """Each level has a long list behind what is deeper."""
    part = filled(piece, SIZE // levels)
    return "[" * levels + "0" + f",{part}]" * levels


def read(data: bytes) -> None:
    """Read an answer, look for tasks in it, and write a receipt into it."""
    with suppress(Unusable):
        response = results.read_response(data)
        with suppress(task_ids.Unreadable):
            task_ids.named(response.result or {})
        stamped(data.decode(), response.result, {"request_id": "r"})


ANSWERS = {
    "nesting": answer(listed("[" * 60 + "]" * 60)),
    "nested objects": answer(listed('{"":' * 60 + "0" + "}" * 60)),
    "nesting beyond the limit": answer("[" * (SIZE // 2) + "]" * (SIZE // 2)),
    "nesting that never ends": b'{"id":1,"result":{"a":' + b"[" * SIZE,
    "nesting and half a surrogate pair": answer("[" * (SIZE // 2) + '"\\ud83d"' + "]" * (SIZE // 2)),
    "half a surrogate pair and rows": answer(f'["\\ud83d",{filled("{}")}]'),
    "six levels": answer(listed("[[[[[[]]]]]]")),
    "stairs": answer(stairs("[[[]]]")),
    "forged receipts in rows": answer(listed(f"{{{FORGED}}}")),
    "forged receipts in results": answer("0", f'{FORGED}}},{filled(chr(34) + "_meta" + chr(34) + ":{}")},"_meta":{{'),
    "results in results": answer("0", f'{FORGED}}},{filled(chr(34) + "result" + chr(34) + ":{}")},"x":{{'),
    "names in escapes": answer(keyed("\\u006b{}".format)),
    "names in escapes next to the receipt": answer("0", keyed("\\u006b{}".format)[1:-1]),
    "names of marks": answer("0", f'{FORGED},"{UNSORTED * (SIZE // 4)}":0'),
    "names of marks next to the result": answer("0", FORGED)[:-1] + f',"{UNSORTED * (SIZE // 4)}":0}}'.encode(),
    "long names": answer(keyed(long_key("a" + UNSORTED * 15))),
    "integers of many digits": answer(listed("9" * 5000)),
    "tasks": b'{"id":1,"result":{"tasks":' + listed('{"taskId":"a"}').encode() + b"}}",
    "blanks": answer("[" + " \n" * (SIZE // 2) + "]"),
    "backslashes": answer('"' + "\\\\" * (SIZE // 2) + '"'),
}


@pytest.mark.parametrize("data", ANSWERS.values(), ids=ANSWERS)
def test_an_answer_costs_what_its_bytes_cost(data: bytes):
    # As many containers: making one costs more than its two bytes do.
    benign = answer(listed("[]") if data.count(b"[") > SIZE // 8 else ROWS)
    assert_linear(lambda: read(data), lambda: read(benign))


EVENT = b'event: message\nid: 1\ndata: {"jsonrpc":"2.0","method":"notifications/progress","params":{}}\n\n'
STREAMS = {
    "line feeds": b"\n" * SIZE,
    "carriage returns": b"\r" * SIZE,
    "both": b"\r\n" * (SIZE // 2),
    "comments": b":\n" * (SIZE // 2),
    "comments and ends": b":\n\n" * (SIZE // 3),
    "lines without data": b"data\n" * (SIZE // 5),
    "unknown fields": b"a\n\n" * (SIZE // 3),
    "one line": b"data:" + b"x" * SIZE,
    "one line of carriage returns": b"data:" + b"x\r" * (SIZE // 2),
    "retries": b"retry:" + b"1" * SIZE + b"\n\n",
    "broken UTF-8": b"data:" + b"\xf0\x9f" * (SIZE // 2) + b"\n\n",
}


@pytest.mark.parametrize("size", [97, SIZE])
@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS)
def test_a_stream_costs_what_its_bytes_cost(stream: bytes, size: int):
    def parsed(data: bytes) -> None:
        parser = sse.Parser(2 * SIZE)
        for start in range(0, len(data), size):
            for event in parser.feed(data[start : start + size]):
                event.encode()

    benign = EVENT * (SIZE // len(EVENT))
    assert_linear(lambda: parsed(stream), lambda: parsed(benign))


def test_benign_answers_are_used():
    response = results.read_response(answer(ROWS))
    assert "request_id" in stamped(answer(ROWS).decode(), response.result, {"request_id": "r"})
    with suppress(Refusal):
        assert results.read_event(answer(ROWS).decode()) == response
