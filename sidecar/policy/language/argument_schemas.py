"""The JSON Schema of a tool's arguments, checked more strictly than JSON Schema asks.

The standard ignores keywords it does not know, so `maximun: 100` would limit nothing, and fetches
what `$ref` points to. Neither belongs in a gate.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from jsonschema_rs import Draft202012Validator, RegexOptions, ValidationError

from sidecar.config.documents import Document, Path, Problem
from sidecar.policy.arguments import ArgumentRules
from sidecar.policy.names import LITERAL, Names, References, names_of

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
# Keywords by what stands under them: a schema, a list of schemas, schemas by name, anything else.
_ONE: Final = frozenset(
    {
        *("additionalProperties", "propertyNames", "unevaluatedProperties", "items", "contains", "unevaluatedItems"),
        *("not", "if", "then", "else"),
    }
)
_MANY: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_NAMED: Final = frozenset({"properties", "patternProperties", "dependentSchemas", "$defs"})
_PLAIN: Final = frozenset(
    {
        *("type", "enum", "const", "format", "pattern", "minLength", "maxLength"),
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
        *("minItems", "maxItems", "uniqueItems", "minContains", "maxContains"),
        *("required", "dependentRequired", "minProperties", "maxProperties"),
        *("title", "description", "default", "deprecated", "readOnly", "writeOnly", "examples", "$comment"),
        *("$schema", "$ref", "$anchor"),
    }
)
_KEYWORDS: Final = _ONE | _MANY | _NAMED | _PLAIN

_FOREIGN: Final = ('["$ref"]', '["$schema"]')

Found = Iterator[tuple[Path, Any]]


def argument_rules(
    document: Document, path: Path, schema: Mapping[str, Any] | None, problems: list[Problem]
) -> ArgumentRules:
    """Compile the schema at `path`; what is wrong with it is added to `problems`.

    Confirmation and expressions add their own names afterwards.
    """
    if schema is None:
        return ArgumentRules(Names())
    found = list(_subschemas(schema, path))
    references = References((tuple(str(step) for step in place[len(path) :]), part) for place, part in found)
    misused = [
        each
        for place, part in found
        if isinstance(part, dict)
        for each in _misused(document, place, part, path, references)
    ]
    problems += misused
    whole = {"type": "object", **schema}
    if whole["type"] != "object":
        problems.append(document.problem((*path, "type"), "not the type of arguments", "object"))
    foreign = any(problem.path.endswith(_FOREIGN) for problem in misused)
    validator = None if foreign else _validator(document, path, whole, problems)
    defaults = {
        name: part["default"]
        for name, part in _properties(schema).items()
        if isinstance(part, dict) and "default" in part
    }
    if validator is not None:
        problems += _bad_defaults(document, path, validator, defaults)
    return ArgumentRules(names_of(schema, references), defaults, validator, tuple(_properties(schema)))


def _properties(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    properties = schema.get("properties")
    return properties if isinstance(properties, dict) else {}


def _validator(
    document: Document, path: Path, schema: dict[str, Any], problems: list[Problem]
) -> Draft202012Validator | None:
    try:
        # The linear-time regex engine: a pattern of the policy meets text of the caller's choice.
        return Draft202012Validator(
            schema, pattern_options=RegexOptions(), validate_formats=True, ignore_unknown_formats=False, offline=True
        )
    except ValidationError as error:
        where = (*path, *error.instance_path)
        problems.append(document.problem(where, f"not valid JSON Schema: {error.message}"))
    except ValueError as error:
        problems.append(document.problem(path, f"not valid JSON Schema: {str(error).partition(chr(10))[0]}"))
    return None


def _subschemas(schema: Any, path: Path) -> Found:
    """Every schema in a schema, itself first, with its path; some are booleans."""
    if isinstance(schema, dict | bool):
        yield path, schema
    if not isinstance(schema, dict):
        return
    for keyword, value in schema.items():
        if keyword in _ONE:
            yield from _subschemas(value, (*path, keyword))
        elif keyword in _MANY and isinstance(value, list):
            for index, part in enumerate(value):
                yield from _subschemas(part, (*path, keyword, index))
        elif keyword in _NAMED and isinstance(value, dict):
            for name, part in value.items():
                yield from _subschemas(part, (*path, keyword, name))


def _misused(
    document: Document, path: Path, schema: Mapping[str, Any], top: Path, references: References
) -> Iterator[Problem]:
    for keyword in schema:
        if keyword not in _KEYWORDS and not keyword.startswith("x-"):
            yield document.problem(
                (*path, keyword), "no keyword of JSON Schema 2020-12", "its keywords, or x-...", at_key=True
            )
    yield from _misled(document, path, schema, references)
    if schema.get("$schema", _DIALECT) != _DIALECT:
        yield document.problem((*path, "$schema"), "not the supported dialect", _DIALECT)
    if "default" not in schema:
        return
    if len(path) != len(top) + 2 or path[len(top)] != "properties":
        yield document.problem(
            (*path, "default"), "a default stands on top-level properties only", "none here", at_key=True
        )
    elif "x-mcp-header" in schema:
        yield document.problem(
            (*path, "default"), "the client sends this argument in a header too", "no default", at_key=True
        )


def _misled(document: Document, path: Path, schema: Mapping[str, Any], references: References) -> Iterator[Problem]:
    """What leads to schemas or names that cannot be told beforehand."""
    reference = schema.get("$ref")
    if isinstance(reference, str) and not reference.startswith("#"):
        yield document.problem((*path, "$ref"), "points outside of this schema", "#/$defs/...")
    elif isinstance(reference, str) and not references.targets(reference):
        yield document.problem((*path, "$ref"), "points at no schema", "#/$defs/...")
    patterns = schema.get("patternProperties")
    for pattern in patterns if isinstance(patterns, dict) else ():
        if not LITERAL.fullmatch(pattern):
            where = (*path, "patternProperties", pattern)
            accepted = "^name$, or propertyNames and additionalProperties for many names"
            yield document.problem(where, "no literal name", accepted, at_key=True)


def _bad_defaults(
    document: Document, path: Path, validator: Draft202012Validator, defaults: Mapping[str, Any]
) -> Iterator[Problem]:
    # All defaults at once and asked of the whole schema, so that `$ref`s lead where they do for a
    # call; what else is wrong with arguments that are nothing but defaults does not matter here.
    for error in validator.iter_errors(dict(defaults)):
        if error.instance_path:
            where = (*path, "properties", error.instance_path[0], "default")
            yield document.problem(where, "does not match its own schema", "a value that the schema accepts")
