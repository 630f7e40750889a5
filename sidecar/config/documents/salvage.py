"""Second look at an invalid document: the problems that its invalid parts hide."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from sidecar.config.documents.positions import Document, FindingsError, Path, Problem, path_text
from sidecar.config.documents.validation import ReadingContext, counted_short, problems_of, split_location, value_at

M = TypeVar("M", bound=BaseModel)

_ROUNDS: Final = 20
"""Each round removes all invalid parts that the one before found; deeper ones would take more."""


def salvage(
    model: type[M], document: Document, required: Mapping[str, Any], **values: Any
) -> tuple[M | None, list[Problem]]:
    """Read a document without its invalid parts, to find further problems.

    Args:
        model: the model of the document.
        document: an invalid document.
        required: valid values of the required keys at the top, for those that are absent or removed.
        values: as for `validate`.

    Returns:
        the model of the rest, which serves only to find more problems, and the problems that were hidden.
    """
    rest: dict[str, Any] = copy.deepcopy(document.value)
    removed: list[Path] = []
    found: list[Problem] = []
    for number in range(_ROUNDS):
        for key, value in required.items():
            rest.setdefault(key, copy.deepcopy(value))
        context = ReadingContext(values)
        try:
            return model.model_validate(rest, context=context), found
        except ValidationError as error:
            if number:  # `validate` has reported those of the first round
                parts = [path_text(path) for path in removed]
                new = problems_of(error, replace(document, value=rest, problems=()), context)
                found += [each for each in new if not each.path.startswith(tuple(parts))]
            for each in error.errors():
                if not all([_remove(rest, path, removed) for path in _invalid_parts(each, rest)]):
                    return None, found
    return None, found


def _invalid_parts(error: ErrorDetails, rest: dict[str, Any]) -> list[Path]:
    """Return the paths of the values that an error is about."""
    path = split_location(error["loc"], rest)[0]
    if counted_short(error, value_at(rest, path)):
        return []
    raised = error.get("ctx", {}).get("error")
    if not isinstance(raised, FindingsError):
        return [path]
    return [(*path, *(part for part in below if part != "[key]")) for below, _, _ in raised.findings]


def _remove(rest: dict[str, Any], path: Path, removed: list[Path]) -> bool:
    """Remove the value at a path; of an element its whole list, because other indexes would move."""
    while path and isinstance(path[-1], int):
        path = path[:-1]
    if not path:
        return False
    removed.append(path)
    parent: Any = rest
    for part in path[:-1]:
        # Another error of this round may have removed the parent.
        if isinstance(parent, dict) and part not in parent:
            return True
        parent = parent[part]
    if isinstance(parent, dict):
        parent.pop(path[-1], None)
    return True
