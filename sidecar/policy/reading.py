"""From policy documents to one model, going on after mistakes so that all can be told at once."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from pydantic import ValidationError

from sidecar.config.documents import Document, DocumentError, Path, Problem, merge, split_location, validate
from sidecar.policy.models import PolicyDocument

NAMED: Final = ("scopes", "quotas", "credits", "plans", "tools", "resources", "prompts", "methods")
JOINED: Final = ("tests",)

# Parts of the contract that come later: naming them must fail, never be ignored. `*` is any name.
_PENDING: Final[tuple[tuple[str, ...], ...]] = (
    ("plans", "*", "mode"),
    ("quotas", "*", "mode"),
    ("tools", "*", "arguments", "mode"),
    ("tools", "*", "confirm", "mode"),
)
_ROUNDS: Final = 20


def read(documents: Iterable[Document]) -> tuple[Document, PolicyDocument, list[Problem]]:
    """Merge the documents and read them; what cannot be read is left out of the model.

    Returns:
        the merged document, the model, and all problems met: with any, the model is good for
        finding more problems and for nothing else.
    """
    document = merge(documents, named=NAMED, joined=JOINED)
    paths = [path for pattern in _PENDING for path in _matching(document.value, pattern)]
    problems = [document.problem(path, "not enforced by this version", at_key=True) for path in paths]
    document = dataclasses.replace(document, value=_without(document.value, paths))
    try:
        return document, validate(PolicyDocument, document), problems
    except DocumentError as error:
        return document, _salvage(document.value), [*problems, *error.problems]


def _matching(value: Any, pattern: Sequence[str], at: Path = ()) -> Iterator[Path]:
    if not pattern:
        yield at
    elif isinstance(value, dict):
        for name in value if pattern[0] == "*" else [pattern[0]]:
            if name in value:
                yield from _matching(value[name], pattern[1:], (*at, name))


def _without(value: dict[str, Any], paths: Sequence[Path]) -> dict[str, Any]:
    if not paths:
        return value
    result = copy.deepcopy(value)
    for path in paths:
        _drop(result, path)
    return result


def _salvage(value: dict[str, Any]) -> PolicyDocument:
    """Leave out what does not fit the model, smallest part first, until the rest does."""
    rest = copy.deepcopy(value)
    for _ in range(_ROUNDS):
        try:
            return PolicyDocument.model_validate(rest)
        except ValidationError as error:
            for each in error.errors():
                _drop(rest, split_location(each["loc"], rest)[0])
    return PolicyDocument()


def _drop(value: Any, path: Path) -> None:
    """Remove the value at a path; of a list, the whole list, as its other indexes would move.

    One bad test must not hide what is wrong with the others: it gives way to one that is right.
    """
    if path[:1] == ("tests",) and len(path) > 1 and isinstance(value["tests"], list):
        index = int(path[1])
        value["tests"][index] = {"name": f"test {index} of this list", "call": {"tool": ""}, "expect": "allow"}
        return
    while path and isinstance(path[-1], int):
        path = path[:-1]
    for part in path[:-1]:
        if isinstance(value, dict) and part not in value:
            return
        value = value[part]
    if path and isinstance(value, dict):
        value.pop(path[-1], None)
