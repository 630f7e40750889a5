"""Checks of parameters and bodies, by the schemas that the OpenAPI document shows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal

import orjson
from jsonschema_rs import Draft202012Validator, ValidationError

from sidecar.admin_api.api_problems import ApiCode, ApiProblem
from sidecar.protocol.strict.strictjson import NotStrict, parse

Schema = Mapping[str, Any]

MAX_DEPTH: Final = 8
"""Levels of nesting of a body."""

_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,17})", re.ASCII)
_BOOLEANS: Final = {"true": True, "false": False}
_FAULTS: Final = 5  # shown of one body


@dataclass(frozen=True, slots=True)
class Parameter:
    """Parameter of a route.

    Attributes:
        name: its name; of a header, in its usual spelling.
        place: the part of the request that has it.
        schema: of its value: text, an integer or a boolean.
        text: its meaning.
        required: True when a request must have it.
    """

    name: str
    place: Literal["path", "query", "header"]
    schema: Schema
    text: str
    required: bool = False


def read_parameters(declared: Iterable[Parameter], given: Mapping[str, str]) -> dict[str, Any]:
    """Return the values of parameters of one place.

    Args:
        declared: those of the route.
        given: texts by name.

    Raises:
        ApiProblem: one is not declared, missing or invalid.
    """
    values: dict[str, Any] = {}
    known = {each.name: each for each in declared}
    for name in given:
        if name not in known:
            raise _invalid(f"there is no parameter {name!r} here: {', '.join(known) or 'it has none'}")
    for name, parameter in known.items():
        if name in given:
            values[name] = _value(parameter, given[name])
        elif parameter.required:
            raise _invalid(f"{name} is required")
        else:
            values[name] = parameter.schema.get("default")
    return values


def _value(parameter: Parameter, text: str) -> Any:
    kind, value = parameter.schema["type"], text
    converted: Any = value
    if kind == "integer" and _INTEGER.fullmatch(text):
        converted = int(text)
    elif kind == "boolean":
        converted = _BOOLEANS.get(text, text)
    for error in _validator(orjson.dumps(parameter.schema)).iter_errors(converted):
        raise _invalid(f"{parameter.name}: {error.message}")
    check_names(parameter.name, converted, parameter.schema)
    return converted


def read_document(body: bytes, schema: Schema) -> Any:
    """Return a body as a document that its schema accepts.

    Raises:
        ApiProblem: it is no strict JSON, or its schema refuses it.
    """
    try:
        document = parse(body, MAX_DEPTH).plain
    except NotStrict as error:
        raise ApiProblem(ApiCode.BODY_MALFORMED, str(error)) from None
    errors = list(_validator(orjson.dumps(schema)).iter_errors(document))
    if errors:
        faults = [{"path": _path(each), "problem": each.message} for each in errors[:_FAULTS]]
        first = f"{faults[0]['path']}: {faults[0]['problem']}"
        raise ApiProblem(ApiCode.BODY_MALFORMED, first, members={"faults": faults})
    for name, member in schema.get("properties", {}).items():
        check_names(name, document.get(name), member)
    return document


def check_names(name: str, value: object, schema: Schema) -> None:
    """Refuse a name that no token may have, where the schema has the format `name`.

    Raises:
        ApiProblem: it is not printable, or has blanks at an end.
    """
    if (
        schema.get("format") == "name"
        and isinstance(value, str)
        and not (value.isprintable() and value.strip() == value)
    ):
        raise _invalid(f"{name}: a name must be printable, without blanks around it")


def _path(error: ValidationError) -> str:
    return ".".join(["body", *map(str, error.instance_path)])


def _invalid(detail: str) -> ApiProblem:
    return ApiProblem(ApiCode.PARAMETER_INVALID, detail)


@lru_cache(128)  # there are fewer schemas
def _validator(schema: bytes) -> Draft202012Validator:
    return Draft202012Validator(orjson.loads(schema), mask="the value")
