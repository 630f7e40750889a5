"""Reader of policy documents into one model; it continues after mistakes to report all of them at once."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any, Final

from pydantic import ValidationError

from sidecar.config.documents.merging import (
    Document,
    DocumentError,
    Path,
    Problem,
    merge,
    split_location,
    validate,
    value_at,
)
from sidecar.policy.language.completeness import incomplete, keys_without_value
from sidecar.policy.language.models import PolicyDocument
from sidecar.policy.language.shadow_mode import misplaced

NAMED: Final = ("scopes", "quotas", "credits", "plans", "tools", "resources", "prompts", "methods")
JOINED: Final = ("tests",)

_ROUNDS: Final = 20


def read(documents: Iterable[Document]) -> tuple[Document, PolicyDocument, list[Problem]]:
    """Merge the documents and read them; the model omits unreadable parts.

    Returns:
        the merged document, the model, and all problems. With problems, the model serves only to
        find more of them.
    """
    files = tuple(documents)
    document = merge(files, named=NAMED, joined=JOINED)
    problems = [*misplaced(document), *incomplete(files, document)]
    nulls = list(keys_without_value(document))
    try:
        return document, validate(PolicyDocument, document), [*problems, *nulls]
    except DocumentError as error:
        reported = {problem.path for problem in error.problems}
        nulls = [problem for problem in nulls if problem.path not in reported]
        misplaced_modes = {problem.path for problem in problems}
        invalid = [problem for problem in error.problems if problem.path not in misplaced_modes]
        return document, _drop_unreadable(document.value), [*problems, *invalid, *nulls]


def _drop_unreadable(value: dict[str, Any]) -> PolicyDocument:
    """Remove the parts that do not fit the model, smallest first, until the rest does."""
    rest = copy.deepcopy(value)
    for _ in range(_ROUNDS):
        try:
            return PolicyDocument.model_validate(rest)
        except ValidationError as error:
            for each in error.errors():
                path, missing = split_location(each["loc"], rest)
                if each["type"] == "missing" and missing[-1:] == ("scopes",):
                    value_at(rest, path)["scopes"] = []  # the operation's other mistakes are still found
                else:
                    _drop(rest, path)
    return PolicyDocument()


def _drop(value: Any, path: Path) -> None:
    """Remove the value at a path; for an element, its whole list, because other indexes would move.

    A bad test is replaced by a correct one, so that it does not hide problems of other tests.
    """
    if path[:1] == ("tests",) and len(path) > 1 and isinstance(value["tests"], list):
        index = int(path[1])
        value["tests"][index] = {"name": f"test {index} of this list", "call": {"tool": ""}, "expect": "tool_unknown"}
        return
    while path and isinstance(path[-1], int):
        path = path[:-1]
    for part in path[:-1]:
        if isinstance(value, dict) and part not in value:
            return
        value = value[part]
    if path and isinstance(value, dict):
        value.pop(path[-1], None)
