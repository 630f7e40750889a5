"""Parsers of untrusted bytes, each with the invariants of its result.

A target takes one input and raises `AssertionError` when a promise is broken; any other exception is a crash.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

from tests.fuzz import answers, fields, responses, streams
from tests.wire import documents, reading

CORPUS: Final = Path(__file__).with_name("corpus")


@dataclass(frozen=True, slots=True)
class Target:
    """One reader.

    Attributes:
        name: its folder in the corpus.
        check: reads one input; the random source cuts it into pieces where that matters.
        snippets: what its format cares about.
    """

    name: str
    check: Callable[[bytes, Random], object]
    snippets: Sequence[bytes]

    def corpus(self) -> dict[str, bytes]:
        """The kept inputs, by file name."""
        return {path.name: path.read_bytes() for path in sorted((CORPUS / self.name).iterdir())}


def _messages(data: bytes, _: Random) -> object:
    return reading.check(data, reading.PYTHON)


TARGETS: Final[Mapping[str, Target]] = {
    target.name: target
    for target in (
        Target("messages", _messages, documents.SNIPPETS),
        Target("headers", fields.check, fields.SNIPPETS),
        Target("streams", streams.check, streams.SNIPPETS),
        Target("answers", answers.check, answers.SNIPPETS),
        Target("responses", responses.check, responses.SNIPPETS),
    )
}
