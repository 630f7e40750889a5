"""Accepted bodies are read alike by Node, by both of Python's parsers, and after forwarding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from random import Random

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.fuzz.mutate import mutated
from tests.wire import documents
from tests.wire.reading import PYTHON, Parser, check, node_parser

pytestmark = pytest.mark.node

EXAMPLES = settings(max_examples=1000, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def parsers() -> Iterator[Mapping[str, Parser]]:
    with node_parser() as parse:
        yield {**PYTHON, "Node": parse}


def test_the_parsers_differ_where_they_are_known_to(parsers: Mapping[str, Parser]):
    """The comparison below could not fail if they did not."""
    assert parsers["Node"](b'{"a":1,"a":2}') == {"a": 2}
    assert parsers["Node"](b"9007199254740993") == 9007199254740992.0
    assert parsers["json"](b"9007199254740993") == 9007199254740993
    with pytest.raises(ValueError, match="SyntaxError"):
        parsers["Node"](b"[NaN]")
    with pytest.raises(ValueError, match="TypeError"):
        parsers["Node"](b'"\xff"')


@EXAMPLES
@given(st.integers(0, 2**64))
def test_calls_written_in_any_way(parsers: Mapping[str, Parser], seed: int):
    check(documents.call(Random(seed)), parsers)


@EXAMPLES
@given(st.integers(0, 2**64), st.integers(1, 4))
def test_calls_that_were_tampered_with(parsers: Mapping[str, Parser], seed: int, times: int):
    random = Random(seed)
    check(mutated(random, documents.call(random), times, documents.SNIPPETS), parsers)


@EXAMPLES
@given(st.binary(max_size=80) | st.text('[]{}",:\\u0d8e1-. tn\x00', max_size=60).map(str.encode))
@example(b'{"jsonrpc":"2.0","id":-0,"method":"ping"}')
def test_random_bytes(parsers: Mapping[str, Parser], body: bytes):
    check(body, parsers)


def test_the_calls_are_worth_comparing():
    """Many of them come all the way, and some are stopped at each gate."""
    reached = Counter(check(documents.call(Random(seed)), PYTHON).refused for seed in range(2000))
    assert reached[None] > 200, reached
    assert min(reached["message"], reached["policy"]) > 200, reached
    assert reached["call"], reached
