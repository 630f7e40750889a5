"""JSON Schema of a tool's arguments, checked more strictly than the standard requires.

The standard ignores unknown keywords, so that `maximun: 100` would limit nothing, and it fetches the
targets of `$ref`. Neither is acceptable in a gate.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from jsonschema_rs import Draft202012Validator, RegexOptions, ValidationError

from sidecar.config.documents.merging import Document, Path, Problem
from sidecar.config.documents.suggestions import nearest
from sidecar.policy.argument_faults.explaining import Explainer
from sidecar.policy.arguments import ArgumentRules
from sidecar.policy.matching.pattern_limits import dear_patterns
from sidecar.policy.matching.value_limits import dear_keywords
from sidecar.policy.names import LITERAL, Names, ReadNames, names_of
from sidecar.policy.narrowing.schema_narrowing import Narrowing

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
# Keywords by their values: a schema, a list of schemas, schemas by name, anything else.
ONE: Final = frozenset(
    {
        *("additionalProperties", "propertyNames", "unevaluatedProperties", "items", "contains", "unevaluatedItems"),
        *("not", "if", "then", "else"),
    }
)
MANY: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
NAMED: Final = frozenset({"properties", "patternProperties", "dependentSchemas", "$defs"})
PLAIN: Final = frozenset(
    {
        *("type", "enum", "const", "format", "pattern", "minLength", "maxLength"),
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
        *("minItems", "maxItems", "uniqueItems", "minContains", "maxContains"),
        *("required", "dependentRequired", "minProperties", "maxProperties"),
        *("title", "description", "default", "deprecated", "readOnly", "writeOnly", "examples", "$comment"),
        *("$schema", "$ref", "$anchor"),
    }
)
_KEYWORDS: Final = ONE | MANY | NAMED | PLAIN

_TYPES: Final = ("string", "integer", "number", "boolean", "array", "object", "null")
_OTHER_TYPES: Final = {
    **dict.fromkeys(("str", "text"), "string"),
    **dict.fromkeys(("float", "double"), "number"),
    **dict.fromkeys(("dict", "map"), "object"),
    "int": "integer",
    "bool": "boolean",
    "list": "array",
    "none": "null",
}

MAX_PATTERN: Final = 10_000_000
"""Bytes of a compiled pattern: enough for a hundred letters of any alphabet (`\\p{L}{1,100}`)."""

_UNUSABLE_PATTERN: Final = (
    "not valid JSON Schema: no regular expression that takes linear time, or one that is too large when compiled"
)
_ACCEPTED_PATTERN: Final = f"no lookaround, no back-reference, fewer repetitions (at most {MAX_PATTERN // 10**6} MB)"

_FOREIGN: Final = ('["$ref"]', '["$schema"]')

Found = Iterator[tuple[Path, Any]]


def argument_rules(
    document: Document, path: Path, schema: Mapping[str, Any] | None, problems: list[Problem]
) -> ArgumentRules:
    """Compile the schema at `path`; its problems are added to `problems`.

    Confirmation and expressions add their names later.
    """
    if schema is None:
        return ArgumentRules(Names())
    found = list(subschemas(schema, path))
    references = ReadNames((tuple(str(step) for step in place[len(path) :]), part) for place, part in found)
    misused = [
        each
        for place, part in found
        if isinstance(part, dict)
        for each in _misused(document, place, part, path, references)
    ]
    problems += misused
    whole = {"type": "object", **schema}
    if whole["type"] != "object":
        problems.append(document.problem((*path, "type"), "arguments have another type", "object"))
    foreign = any(problem.path.endswith(_FOREIGN) for problem in misused)
    validator = None if foreign else _validator(document, path, whole, problems)
    defaults = {
        name: part["default"]
        for name, part in _properties(schema).items()
        if isinstance(part, dict) and "default" in part
    }
    names = names_of(schema, references)
    if validator is None:
        return ArgumentRules(names, defaults, declared=tuple(_properties(schema)), schema=schema)
    problems += _bad_defaults(document, path, validator, defaults)
    problems += dear_patterns(document, path, found)
    problems += dear_keywords(document, path, found, references.targets)
    explainer = Explainer(whole, references, names, compiled)
    narrowing, declared = Narrowing(schema, defaults), tuple(_properties(schema))
    return ArgumentRules(names, defaults, validator, explainer, declared, schema=schema, narrowing=narrowing)


def _properties(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    properties = schema.get("properties")
    return properties if isinstance(properties, dict) else {}


def _validator(
    document: Document, path: Path, schema: dict[str, Any], problems: list[Problem]
) -> Draft202012Validator | None:
    try:
        return compiled(schema)
    except ValidationError as error:
        where = (*path, *error.instance_path)
        if error.instance_path and error.instance_path[-1] == "pattern":
            problems.append(document.problem(where, _UNUSABLE_PATTERN, _ACCEPTED_PATTERN))
        elif error.instance_path and error.instance_path[-1] == "type" and isinstance(error.instance, str):
            near = _OTHER_TYPES.get(error.instance) or nearest(error.instance, _TYPES)
            accepted = f"{', '.join(_TYPES)}, or a list of them"
            problems.append(document.problem(where, "no type of JSON Schema", accepted, near=near))
        else:
            wrong = f"not valid JSON Schema: {error.message}"
            problems.append(document.problem(where, wrong, "JSON Schema 2020-12"))
    except ValueError as error:
        problems.append(document.problem(path, f"not valid JSON Schema: {str(error).partition(chr(10))[0]}"))
    return None


def compiled(schema: dict[str, Any]) -> Draft202012Validator:
    """Compile a schema with the options of the gate.

    Raises:
        ValidationError: it is not valid JSON Schema.
        ValueError: a reference, pattern or format cannot be used.
    """
    # The linear-time regex engine: a policy's pattern is matched against a caller's text.
    options = RegexOptions(size_limit=MAX_PATTERN)
    return Draft202012Validator(
        schema, pattern_options=options, validate_formats=True, ignore_unknown_formats=False, offline=True
    )


def subschemas(schema: Any, path: Path) -> Found:
    """Yield every schema in a schema with its path, the schema itself first; some are booleans."""
    if isinstance(schema, dict | bool):
        yield path, schema
    if not isinstance(schema, dict):
        return
    for keyword, value in schema.items():
        if keyword in ONE:
            yield from subschemas(value, (*path, keyword))
        elif keyword in MANY and isinstance(value, list):
            for index, part in enumerate(value):
                yield from subschemas(part, (*path, keyword, index))
        elif keyword in NAMED and isinstance(value, dict):
            for name, part in value.items():
                yield from subschemas(part, (*path, keyword, name))


def _misused(
    document: Document, path: Path, schema: Mapping[str, Any], top: Path, references: ReadNames
) -> Iterator[Problem]:
    for keyword in schema:
        if keyword not in _KEYWORDS and not keyword.startswith("x-"):
            near, accepted = nearest(keyword, sorted(_KEYWORDS)), "its keywords, or x-..."
            wrong = "no keyword of JSON Schema 2020-12"
            yield document.problem((*path, keyword), wrong, accepted, at_key=True, near=near)
    yield from _unresolvable_names(document, path, schema, references)
    if schema.get("format") == "regex":
        # The regex parser compares group names in quadratic time, and callers choose the text.
        yield document.problem(
            (*path, "format"), "the check of a caller's regular expression takes too long", "maxLength"
        )
    divisor = schema.get("multipleOf")
    if isinstance(divisor, float) and not divisor.is_integer() and not _is_argument(path, top):
        # Exact division takes microseconds, and callers choose how many values there are.
        accepted = "an integer; a fraction on a top-level property only"
        yield document.problem((*path, "multipleOf"), "a fraction takes too long to divide many values by", accepted)
    if schema.get("$schema", _DIALECT) != _DIALECT:
        yield document.problem((*path, "$schema"), "not the supported dialect", _DIALECT)
    if "default" not in schema:
        return
    if not _is_argument(path, top):
        yield document.problem((*path, "default"), "only top-level properties have a default", "none here", at_key=True)
    elif "x-mcp-header" in schema:
        yield document.problem(
            (*path, "default"), "clients send this argument in a header as well", "no default", at_key=True
        )


def _is_argument(path: Path, top: Path) -> bool:
    """Return whether a path is that of a top-level property."""
    return len(path) == len(top) + 2 and path[len(top)] == "properties"


def _unresolvable_names(
    document: Document, path: Path, schema: Mapping[str, Any], references: ReadNames
) -> Iterator[Problem]:
    """Find references and patterns that hide schemas or names at load time."""
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
    # The whole schema validates all defaults at once, so that `$ref`s resolve as in a call. Other
    # errors of arguments that consist of defaults only do not matter here.
    for error in validator.iter_errors(dict(defaults)):
        if error.instance_path:
            where = (*path, "properties", error.instance_path[0], "default")
            yield document.problem(where, "does not match its own schema", "a value that the schema accepts")
