"""Limits of requests, and the part of them that each worker process has."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import Field, PlainValidator, WithJsonSchema, model_validator

from sidecar.config.documents.merging import FindingsError, Model
from sidecar.config.settings.scalars import Size, size_text

Count = Annotated[int, Field(ge=1, le=1_000_000)]

MOST_WORKERS: Final = 256
BODY_SHARE: Final = 28
"""`limits.memory` must be at least this multiple of `limits.body`: one decoded body fits a quarter of it."""
RESPONSE_SHARE: Final = 7
"""`limits.memory` must be at least this multiple of `limits.response`; memory of decoding need not fit the quarter."""

_SHARES: Final = (("body", BODY_SHARE), ("response", RESPONSE_SHARE))


def _workers(value: object) -> int | str:
    if value == "auto" or (type(value) is int and 1 <= value <= MOST_WORKERS):
        return value
    raise ValueError(f"no number of processes; auto, or an integer from 1 to {MOST_WORKERS}")


WorkerCount = Annotated[
    int | Literal["auto"],
    PlainValidator(_workers),
    WithJsonSchema(
        {"anyOf": [{"type": "string", "const": "auto"}, {"type": "integer", "minimum": 1, "maximum": MOST_WORKERS}]}
    ),
]
Finding = tuple[tuple[str | int, ...], str, str]
"""Path, problem and accepted values."""


class Limits(Model):
    """Limits of one request and of the sidecar; each worker has an equal part of `memory` and `in_flight`."""

    body: Size = 1 << 20
    """Size of a request's body."""
    header: Size = 16 << 10
    """Size of a request's headers."""
    json_depth: int = Field(default=64, ge=4, le=128)
    """Levels of nesting in a message and in an answer of the backend."""
    items: int = Field(default=500, ge=1, le=5000)
    """Entries of a list in the computation of an amount."""
    response: Size = 64 << 20
    """Size of one answer or stream of the backend."""
    memory: Size = 512 << 20
    """Memory for requests and answers, including decoded ones; divided by the workers."""
    in_flight: Count = 1000
    """Requests in flight; divided by the workers."""
    in_flight_per_account: Count = 250
    """Requests in flight of one account in one worker."""
    streams_per_account: Count = 32
    """Open streams of one account in one worker."""

    @model_validator(mode="after")
    def _memory_suffices(self) -> Self:
        if findings := self.shortages(1):
            raise FindingsError(findings)
        return self

    def shortages(self, workers: int) -> list[Finding]:
        """Return the sizes that are too large for one worker's part of the memory.

        Defaults that do not fit are reduced by `shared_by`; only sizes of the config are reported.
        """
        findings: list[Finding] = []
        given, each = self.model_fields_set, "" if workers == 1 else f" in each of {workers} workers"
        for name, share in _SHARES:
            size: int = getattr(self, name)
            if size * share <= self.memory // workers or given.isdisjoint((name, "memory")):
                continue
            if name in given:
                most = self.memory // workers // share
                accepted = f"at most {most >> 10}KiB, or more memory"
                findings.append(((name,), f"too large for limits.memory{each}", accepted))
            else:
                wrong = f"too small for limits.{name}, which is {size_text(size)}{each}"
                least = -(-size * share * workers >> 20)
                findings.append((("memory",), wrong, f"at least {least}MiB, or a smaller {name}"))
        return findings

    @property
    def most_workers(self) -> int:
        """Number of workers among which the memory can be divided, if the config gives sizes."""
        given = self.model_fields_set
        needed: list[int] = [
            getattr(self, name) * share for name, share in _SHARES if not given.isdisjoint((name, "memory"))
        ]
        return max(1, min([MOST_WORKERS, *(self.memory // size for size in needed)]))

    def shared_by(self, workers: int) -> Limits:
        """Return the limits of one of so many workers."""
        if workers == 1:
            return self
        memory = self.memory // workers
        sizes = {name: min(getattr(self, name), memory // share) for name, share in _SHARES}
        return self.model_copy(update={**sizes, "memory": memory, "in_flight": max(1, self.in_flight // workers)})
