"""Documents held against pydantic models: every problem at once, in words, with its place."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Strict, ValidationError, ValidationInfo, model_validator
from pydantic_core import ErrorDetails

from sidecar.config.documents_types import Document, DocumentError, FindingsError, Path, Problem

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

Lax = Annotated[T, Strict(False)]
"""For types that YAML cannot write: `Lax[tuple[X, ...]]` takes a list, `Lax[SomeEnum]` a value.

Applies to the outermost type alone; what is inside stays strict.
"""

_TYPES: Final = {
    "string_type": "text",
    "int_type": "an integer",
    "float_type": "a number",
    "bool_type": "true or false",
    "none_required": "null",
    **dict.fromkeys(("model_type", "model_attributes_type", "dict_type", "mapping_type"), "a mapping"),
    **dict.fromkeys(("list_type", "tuple_type", "set_type", "frozen_set_type"), "a list"),
}
_BOUNDS: Final = {
    "greater_than_equal": ("too small", "at least {ge}"),
    "greater_than": ("too small", "more than {gt}"),
    "less_than_equal": ("too large", "at most {le}"),
    "less_than": ("too large", "less than {lt}"),
    "string_too_short": ("too short", "at least {min_length} characters"),
    "string_too_long": ("too long", "at most {max_length} characters"),
    "too_short": ("too few entries", "at least {min_length}"),
    "too_long": ("too many entries", "at most {max_length}"),
    "string_pattern_mismatch": ("not of the accepted form", "text that matches {pattern}"),
    "literal_error": ("not an accepted value", "{expected}"),
    "enum": ("not an accepted value", "{expected}"),
    "union_tag_invalid": ("of no accepted form", "{expected_tags}"),
}


@dataclass(slots=True)
class _Context:
    """What validators may ask for, and what they leave behind for the messages.

    `accepted` holds, by the identity of a mapping, that mapping and the keys of the model that read
    it last. The mapping is kept so that no other object can take over its identity.
    """

    values: dict[str, Any]
    accepted: dict[int, tuple[object, tuple[str, ...]]] = field(default_factory=dict)


class Model(BaseModel):
    """Base of all document models: immutable, no unknown keys, no value read as another type."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, hide_input_in_errors=True, use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _note_keys(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(info.context, _Context) and isinstance(value, dict):
            names = tuple(each.alias or name for name, each in cls.model_fields.items())
            info.context.accepted[id(value)] = (value, names)
        return value


def context_value(info: ValidationInfo, name: str) -> Any:
    """What `validate` was given under this name; None outside of it."""
    return info.context.values.get(name) if isinstance(info.context, _Context) else None


def validate(model: type[M], document: Document, **values: Any) -> M:
    """Read a document into a model.

    A validator of the model may raise ValueError with a text of the form `what is wrong; what is
    accepted` that holds no value, or FindingsError. `values` are for it, see `context_value`.

    Raises:
        DocumentError: all problems of the document, those met when it was parsed included.
    """
    value, error = document.value, None
    for _ in range(2):
        context = _Context(values)
        try:
            result = model.model_validate(value, context=context)
            break
        except ValidationError as failed:
            error = failed
            texts = _texts_wanted(failed, document)
            if not texts:
                raise DocumentError([*document.problems, *_problems(failed, document, context)]) from None
            value = _with_texts(document.value, texts)
    else:
        assert error is not None  # noqa: S101 - two failures, or the loop was left
        raise DocumentError([*document.problems, *_problems(error, document, context)]) from None
    if document.problems:
        raise DocumentError(document.problems)
    return result


# --- substituted values ------------------------------------------------------------------------


def _texts_wanted(error: ValidationError, document: Document) -> dict[Path, str]:
    """Substituted values that look like numbers or booleans where the model wants their text."""
    paths = (split_location(each["loc"], document.value)[0] for each in error.errors() if each["type"] == "string_type")
    return {path: document.texts[path] for path in paths if path in document.texts}


def _with_texts(value: Any, texts: dict[Path, str]) -> Any:
    result = copy.deepcopy(value)
    for path, text in texts.items():
        _at(result, path[:-1])[path[-1]] = text
    return result


# --- messages ----------------------------------------------------------------------------------


def _problems(error: ValidationError, document: Document, context: _Context) -> list[Problem]:
    known = {(problem.path, problem.place) for problem in document.problems}
    problems: list[Problem] = []
    types: dict[Path, list[str]] = {}
    paths: list[Path] = []
    for each in error.errors():
        path, rest = split_location(each["loc"], document.value)
        paths.append(path)
        if _counted_short(each, _at(document.value, path)):
            continue
        if each["type"] in _TYPES and "[key]" not in rest:
            accepted_type = each.get("ctx", {}).get("accepted", _TYPES[each["type"]])
            types.setdefault(path, []).append(accepted_type)
        else:
            problems += _found(each, path, rest, document, context)
    for path, accepted in types.items():
        # A union names its every branch; where one branch looked inside the value, that one was meant.
        if not any(len(other) > len(path) and other[: len(path)] == path for other in paths):
            wrong = f"{_kind(_at(document.value, path))} is given"
            problems.append(document.problem(path, wrong, " or ".join(dict.fromkeys(accepted))))
    return [problem for problem in problems if (problem.path, problem.place) not in known]


def _counted_short(error: ErrorDetails, value: object) -> bool:
    """Whether a list is only too short because pydantic does not count its bad entries, told elsewhere."""
    return error["type"] == "too_short" and isinstance(value, list) and len(value) >= error["ctx"]["min_length"]


def _found(
    error: ErrorDetails, path: Path, rest: tuple[str | int, ...], document: Document, context: _Context
) -> list[Problem]:
    raised = error.get("ctx", {}).get("error")
    if not isinstance(raised, FindingsError):
        return [_problem(error, path, rest, document, context)]
    return [document.problem((*path, *below), wrong, accepted) for below, wrong, accepted in raised.findings]


def _problem(
    error: ErrorDetails, path: Path, rest: tuple[str | int, ...], document: Document, context: _Context
) -> Problem:
    kind, details = error["type"], error.get("ctx", {})
    if kind == "missing":
        return document.problem((*path, *rest[-1:]), "required but missing", at_key=True)
    if kind == "extra_forbidden":
        parent = _at(document.value, path[:-1])
        _, names = context.accepted.get(id(parent), (None, ()))
        return document.problem(path, "unknown key", ", ".join(names), at_key=True)
    if kind in _BOUNDS:
        wrong, accepted = (part.format(**details) for part in _BOUNDS[kind])
        return document.problem(path, wrong, accepted.replace("'", ""))
    if kind == "value_error":
        wrong, _, accepted = str(details["error"]).partition("; ")
        return document.problem(path, wrong, accepted, at_key="[key]" in rest)
    return document.problem(path, error["msg"], at_key="[key]" in rest)


def split_location(location: Sequence[str | int], value: Any) -> tuple[Path, tuple[str | int, ...]]:
    """Split pydantic's location in the path within the document and what pydantic added to it.

    Names of union branches stand in between and are dropped; what follows the deepest value
    that exists (the name of a missing key, `[key]`) is the second part.
    """
    path: list[str | int] = []
    rest: list[str | int] = []
    for part in location:
        inside = (isinstance(value, dict) and part in value) or (
            isinstance(value, list) and isinstance(part, int) and part < len(value)
        )
        if inside:
            value = value[part]
            path.append(part)
            rest.clear()
        else:
            rest.append(part)
    return tuple(path), tuple(rest)


def _at(value: Any, path: Iterable[str | int]) -> Any:
    for part in path:
        value = value[part]
    return value


def _kind(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int):
        return "an integer"
    names = {str: "text", float: "a number with a fraction", dict: "a mapping", list: "a list"}
    return names.get(type(value), "something else")
