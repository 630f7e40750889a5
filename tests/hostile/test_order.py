"""Order of the gates' questions: what is cheap and refuses comes before what is dear."""

from collections.abc import Iterator, Mapping
from typing import Any

from sidecar.errors import ErrorCode
from sidecar.model import Depth
from sidecar.policy.decide import decide
from tests.policy.support import call, caller, one_tool, policy

PRICED = policy(
    one_tool(
        """
        arguments:
          properties: {ids: {type: array, items: {type: string}}, sure: {type: boolean}, n: {default: 1}}
        confirm: {argument: sure}
        uses: {rows: length(arguments.ids)}
        """
    )
)


class Counted(Mapping[str, Any]):
    """Arguments that count how often they are looked at."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values
        self.looks = 0

    def __getitem__(self, key: str) -> Any:
        self.looks += 1
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        self.looks += 1
        return iter(self._values)

    def __len__(self) -> int:
        self.looks += 1
        return len(self._values)


def test_arguments_are_not_read_for_a_token_without_the_scope():
    arguments = Counted({"ids": ["a"]})
    decision = decide(PRICED, call("t", arguments), caller("another"))
    assert decision.refusal is not None
    assert decision.refusal.code is ErrorCode.INSUFFICIENT_SCOPE
    assert (decision.depth, decision.demands, arguments.looks) == (Depth.PLAN, (), 0)


def test_an_undeclared_tool_is_refused_without_reading_arguments():
    arguments = Counted({"ids": ["a"]})
    refusal = decide(PRICED, call("unknown", arguments), caller("s")).refusal
    assert refusal is not None
    assert (refusal.code, arguments.looks) == (ErrorCode.TOOL_UNKNOWN, 0)
