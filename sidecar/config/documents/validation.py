"""Validation of documents against pydantic models; it reports every problem at once, with its place."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Strict, ValidationError, ValidationInfo, model_validator
from pydantic_core import ErrorDetails

from sidecar.config.documents.positions import Document, DocumentError, FindingsError, Path, Problem
from sidecar.config.documents.suggestions import nearest

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

Lax = Annotated[T, Strict(False)]
"""Marker of types that YAML does not have: `Lax[tuple[X, ...]]` takes a list, `Lax[SomeEnum]` a value.

It applies to the outermost type only; inner types remain strict.
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

_JOINED: Final = re.compile(r"([A-Za-z_][\w.-]*):(?=[^\s/:])")
_WORD: Final = re.compile(r"[A-Za-z][\w-]{2,40}")
_DASHED: Final = re.compile(r"-[^\s-]")


@dataclass(slots=True)
class ReadingContext:
    """Values for validators, and the accepted keys that they record for messages.

    `accepted` has, by the identity of a mapping, the mapping and the keys of the model that read it
    last. Keeping the mapping prevents the reuse of its identity.
    """

    values: dict[str, Any]
    accepted: dict[int, tuple[object, tuple[str, ...]]] = field(default_factory=dict)


class Model(BaseModel):
    """Base of all document models: immutable, without unknown keys, without conversion of types."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, hide_input_in_errors=True, use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _note_keys(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(info.context, ReadingContext) and isinstance(value, dict):
            names = tuple(each.alias or name for name, each in cls.model_fields.items())
            info.context.accepted[id(value)] = (value, names)
        return value


def context_value(info: ValidationInfo, name: str) -> Any:
    """Return the value that `validate` received under this name; None outside of it."""
    return info.context.values.get(name) if isinstance(info.context, ReadingContext) else None


def validate(model: type[M], document: Document, **values: Any) -> M:
    """Read a document into a model.

    A validator of the model may raise ValueError with a text of the form `fault; accepted form` and
    without the value, or FindingsError. It reads `values` with `context_value`.

    Raises:
        DocumentError: all problems of the document, including those of its parsing.
    """
    value, error = document.value, None
    for _ in range(2):
        context = ReadingContext(values)
        try:
            result = model.model_validate(value, context=context)
            break
        except ValidationError as failed:
            error = failed
            texts = _texts_wanted(failed, document)
            if not texts:
                raise DocumentError([*document.problems, *problems_of(failed, document, context)]) from None
            value = _with_texts(document.value, texts)
    else:
        assert error is not None  # noqa: S101 - two failures, or the loop was left
        raise DocumentError([*document.problems, *problems_of(error, document, context)]) from None
    if document.problems:
        raise DocumentError(document.problems)
    return result


# --- substituted values ------------------------------------------------------------------------


def _texts_wanted(error: ValidationError, document: Document) -> dict[Path, str]:
    """Find substituted values that were read as numbers or booleans although the model requires text."""
    paths = (split_location(each["loc"], document.value)[0] for each in error.errors() if each["type"] == "string_type")
    return {path: document.texts[path] for path in paths if path in document.texts}


def _with_texts(value: Any, texts: dict[Path, str]) -> Any:
    result = copy.deepcopy(value)
    for path, text in texts.items():
        value_at(result, path[:-1])[path[-1]] = text
    return result


# --- messages ----------------------------------------------------------------------------------


def problems_of(error: ValidationError, document: Document, context: ReadingContext) -> list[Problem]:
    """Return the problems of a failed validation that the document does not have yet.

    Args:
        error: the failure.
        document: the validated document.
        context: the one of the validation.
    """
    known = {(problem.path, problem.place) for problem in document.problems}
    problems: list[Problem] = []
    types: dict[Path, list[str]] = {}
    paths: list[Path] = []
    for each in error.errors():
        path, rest = split_location(each["loc"], document.value)
        paths.append((*path, *rest[-1:]) if each["type"] == "missing" else path)
        if counted_short(each, value_at(document.value, path)):
            continue
        if each["type"] in _TYPES and "[key]" not in rest:
            accepted_type = each.get("ctx", {}).get("accepted", _TYPES[each["type"]])
            types.setdefault(path, []).append(accepted_type)
        else:
            problems += _found(each, path, rest, document, context)
    for path, accepted in types.items():
        # A union reports every branch; a branch with an error inside the value is the intended one.
        if not any(len(other) > len(path) and other[: len(path)] == path for other in paths):
            problems.append(_of_type(document, path, " or ".join(dict.fromkeys(accepted))))
    return [problem for problem in problems if (problem.path, problem.place) not in known]


def _of_type(document: Document, path: Path, accepted: str) -> Problem:
    """Return the problem of a value of a wrong type; of a text that lacks a blank, the problem is that."""
    value = value_at(document.value, path)
    text = value if isinstance(value, str) and path not in document.written and document.shown(path) else ""
    joined = _JOINED.match(text)
    if "a mapping" in accepted and joined is not None:
        return document.problem(path, "no blank after a colon", f"{joined[1]}: value, with a blank after the colon")
    if "a list" in accepted and _DASHED.match(text):
        return document.problem(path, "no blank after the - of a list's entry", "- value, with a blank after the -")
    return document.problem(path, f"{_kind(value)} is given", accepted)


def counted_short(error: ErrorDetails, value: object) -> bool:
    """Return True when a list is too short only because pydantic does not count entries with their own problems."""
    entries = [value] if isinstance(value, str) else value  # a text may be accepted as a list of one
    return error["type"] == "too_short" and isinstance(entries, list) and len(entries) >= error["ctx"]["min_length"]


def _found(
    error: ErrorDetails, path: Path, rest: tuple[str | int, ...], document: Document, context: ReadingContext
) -> list[Problem]:
    raised = error.get("ctx", {}).get("error")
    if not isinstance(raised, FindingsError):
        return [_problem(error, path, rest, document, context)]
    found = []
    for below, wrong, accepted in raised.findings:
        at_key = below[-1:] == ("[key]",)
        whole = (*path, *(below[:-1] if at_key else below))
        found.append(document.problem(whole, wrong, accepted, at_key=at_key))
    return found


def _problem(
    error: ErrorDetails, path: Path, rest: tuple[str | int, ...], document: Document, context: ReadingContext
) -> Problem:
    kind, details = error["type"], error.get("ctx", {})
    if kind == "missing":
        return document.problem((*path, *rest[-1:]), "required but missing", at_key=True)
    if kind == "extra_forbidden":
        parent = value_at(document.value, path[:-1])
        _, names = context.accepted.get(id(parent), (None, ()))
        near = nearest(str(path[-1]), names)
        return document.problem(path, "unknown key", ", ".join(names), at_key=True, near=near)
    if kind in _BOUNDS:
        wrong, accepted = (part.format(**details).replace("'", "") for part in _BOUNDS[kind])
        at_key = "[key]" in rest
        value = str(path[-1] if at_key and path else value_at(document.value, path))
        near = nearest(value, _names(kind, accepted)) if at_key or _is_shown(document, path) else ""
        return document.problem(path, wrong, accepted, at_key=at_key, near=near)
    if kind == "value_error":
        wrong, _, accepted = str(details["error"]).partition("; ")
        near = _near_word(document, path, accepted)
        return document.problem(path, wrong, accepted, at_key="[key]" in rest, near=near)
    return document.problem(path, error["msg"], at_key="[key]" in rest)


def _near_word(document: Document, path: Path, accepted: str) -> str:
    """Return the word of an accepted form that a value of one word resembles; empty for what may be secret."""
    value = value_at(document.value, path)
    if not isinstance(value, str) or path in document.written or not document.shown(path):
        return ""
    return nearest(value, _WORD.findall(accepted)) if _WORD.fullmatch(value) else ""


def _is_shown(document: Document, path: Path) -> bool:
    return path not in document.written and document.shown(path) != ""


def _names(kind: str, accepted: str) -> list[str]:
    """Return the accepted names of an error about a name of a fixed list."""
    return re.split(", | or ", accepted) if kind in ("literal_error", "enum") else []


def split_location(location: Sequence[str | int], value: Any) -> tuple[Path, tuple[str | int, ...]]:
    """Split pydantic's location into the path within the document and pydantic's addition.

    Names of union branches in between are dropped; the part after the deepest existing value (the name
    of a missing key, `[key]`) is the addition.
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


def value_at(value: Any, path: Iterable[str | int]) -> Any:
    """Return the value at a path that exists."""
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
