"""Adoption of a backend's input schema as `arguments` of a policy.

The policy's subset of JSON Schema is stricter than the backends' dialects. Keywords outside of it are dropped, and
each is reported: the adopted schema accepts every call that the backend's schema accepts, except for arguments that it
does not name. Texts for people (title, description, examples) and defaults are left to the backend.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from jsonschema_rs import ValidationError

from sidecar.config.documents.merging import Document, Problem, path_text
from sidecar.policy.language.argument_schemas import MANY, NAMED, ONE, PLAIN, argument_rules, compiled, subschemas
from sidecar.policy.matching.pattern_limits import MOST_THREADS
from sidecar.policy.matching.pattern_threads import threads_of
from sidecar.policy.names import LITERAL, ReadNames
from sidecar.protocol.strict import folding

Json = dict[str, Any]

MAX_DEPTH: Final = 24
"""Levels of nested schemas; deeper ones accept anything."""
MAX_NESTED: Final = 8
"""Levels of a value in `enum` or `const`."""
MAX_VALUES: Final = 2000
"""Values of one schema; a larger one is not adopted."""

_SILENT: Final = frozenset(
    {
        *("title", "description", "default", "deprecated", "readOnly", "writeOnly", "examples", "$comment"),
        *("$schema", "$id", "id"),
    }
)
_HEADER: Final = "x-mcp-header"  # a default for such an argument is an error, so a person must see it
_OPENING: Final = frozenset(
    {
        *("additionalProperties", "unevaluatedProperties", "patternProperties", "propertyNames"),
        *("allOf", "anyOf", "oneOf", "if", "$ref", "dependentSchemas"),
    }
)
_INVERTING: Final = ("not", "if", "oneOf", "contains")


@dataclass(frozen=True, slots=True)
class Adopted:
    """Adopted schema.

    Attributes:
        schema: the value of `arguments`; None when the backend's schema could not be adopted.
        notes: everything that was dropped or added, as sentences; names of the backend may be in them.
    """

    schema: Json | None
    notes: tuple[str, ...] = ()


def adopt(schema: object) -> Adopted:
    """Adopt a backend's `inputSchema`."""
    if not isinstance(schema, dict) or schema.get("type", "object") != "object":
        return Adopted(None, ("its input schema is not the schema of an object",))
    if count_values(schema, MAX_VALUES) > MAX_VALUES:
        return Adopted(None, (f"its input schema has more than {MAX_VALUES} values",))
    adoption = _Adoption()
    adopted = adoption.whole(schema)
    if adoption.notes and any(f'"{each}"' in json.dumps(adopted) for each in _INVERTING):
        # What a reference points to may accept more now, and `not` would turn that into less.
        adoption = _Adoption(references_lost=True)
        adopted = adoption.whole(schema)
    notes = [*adoption.notes, *_unresolved(adopted)]
    wrong = _name_fault(adopted)
    if wrong is not None:
        return Adopted(None, (wrong,))
    notes += _close(adopted, schema)
    problems: list[Problem] = []
    argument_rules(Document("", {}), (), adopted, problems)
    if problems:
        return Adopted(None, tuple(f"its input schema: {each.path}: {each.wrong}" for each in problems[:1]))
    adopted.pop("type", None)  # arguments are objects in any case
    return Adopted(adopted, (*notes, *_confusable(adopted)))


@dataclass(slots=True)
class _Adoption:
    """One pass over a schema; `notes` has a sentence for each dropped keyword."""

    references_lost: bool = False
    notes: list[str] = field(default_factory=list)

    def whole(self, schema: Json) -> Json:
        adopted, _ = self.part(schema, ())
        return adopted if isinstance(adopted, dict) else {}

    def part(self, schema: Any, path: tuple[str | int, ...]) -> tuple[Any, bool]:
        """Return the adopted part, and True when it accepts more than the part itself."""
        if isinstance(schema, bool):
            return schema, False
        if not isinstance(schema, dict) or len(path) > MAX_DEPTH:
            self._drop(path, "it is no schema" if len(path) <= MAX_DEPTH else "it is nested too deep")
            return True, True
        result: Json = {}
        lost = False
        for keyword, value in _modern(schema).items():
            if keyword in _SILENT:
                continue
            kept, less = self._keyword(keyword, value, (*path, keyword))
            lost = lost or less
            if kept is not None:
                result[kept[0]] = kept[1]
        if lost:
            self._loosen(result, path)
        return result, lost

    def _keyword(self, keyword: str, value: Any, path: tuple[str | int, ...]) -> tuple[tuple[str, Any] | None, bool]:
        if keyword == _HEADER and isinstance(value, str):
            return (keyword, value), False
        if keyword == "$ref" and isinstance(value, str):
            return (keyword, value.replace("#/definitions/", "#/$defs/")), self.references_lost
        if keyword in ONE:
            return self._one(keyword, value, path)
        if keyword in MANY and isinstance(value, list) and value:
            parts = [self.part(each, (*path, index)) for index, each in enumerate(value)]
            lost = any(less for _, less in parts)
            # Branches that accept more may overlap, and `oneOf` refuses what two of them accept.
            return ("anyOf" if keyword == "oneOf" and lost else keyword, [each for each, _ in parts]), lost
        if keyword in NAMED and isinstance(value, dict):
            return self._named(keyword, value, path)
        if keyword in PLAIN and keyword not in (*MANY, *NAMED) and _usable(keyword, value, path):
            return (keyword, value), False
        self._drop(path, "the policy has no such keyword" if keyword not in PLAIN else "the policy does not accept it")
        return None, True

    def _one(self, keyword: str, value: Any, path: tuple[str | int, ...]) -> tuple[tuple[str, Any] | None, bool]:
        part, lost = self.part(value, path)
        if lost and keyword in _INVERTING:
            self._drop(path, "a part of it was dropped")
            return None, True
        return (keyword, part), lost

    def _named(self, keyword: str, value: Json, path: tuple[str | int, ...]) -> tuple[tuple[str, Any], bool]:
        parts: Json = {}
        lost = False
        for name, each in value.items():
            if keyword == "patternProperties" and not LITERAL.fullmatch(name):
                self._drop((*path, name), "the policy accepts literal names only")
                lost = True
                continue
            parts[name], less = self.part(each, (*path, name))
            lost = lost or less
        return (keyword, parts), lost

    def _loosen(self, result: Json, path: tuple[str | int, ...]) -> None:
        """Remove the keywords whose meaning depends on a neighbour that was dropped."""
        gone = {"unevaluatedProperties", "unevaluatedItems"}
        if "if" not in result:
            gone |= {"then", "else"}
        if "contains" not in result:
            gone |= {"minContains", "maxContains"}
        if any(note.startswith(f"{path_text((*path, 'patternProperties'))}") for note in self.notes):
            gone.add("additionalProperties")
        for keyword in gone & result.keys():
            del result[keyword]
            self._drop((*path, keyword), "a keyword that it depends on was dropped")

    def _drop(self, path: tuple[str | int, ...], why: str) -> None:
        self.notes.append(f"{path_text(path)} is not taken over: {why}")


def _modern(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a schema with the keywords that 2020-12 has renamed under their new names."""
    if "definitions" not in schema and not isinstance(schema.get("items"), list):
        return schema
    result = dict(schema)
    definitions = result.pop("definitions", None)
    if isinstance(definitions, dict):
        known = result.get("$defs")
        result["$defs"] = {**definitions, **(known if isinstance(known, dict) else {})}
    if isinstance(result.get("items"), list):
        result["prefixItems"] = result.pop("items")
        if "additionalItems" in result:
            result["items"] = result.pop("additionalItems")
    return result


def _usable(keyword: str, value: Any, path: tuple[str | int, ...]) -> bool:
    """Return True when the gate accepts a keyword with this value."""
    if keyword in ("$ref", "$anchor") or (keyword == "format" and value == "regex"):
        return keyword == "$anchor" and isinstance(value, str)
    if keyword == "multipleOf" and isinstance(value, float) and not value.is_integer():
        return len(path) == 3 and path[0] == "properties"
    if keyword in ("enum", "const") and _nests(value):
        return False
    if keyword == "pattern" and isinstance(value, str) and threads_of(value) > MOST_THREADS:
        return False
    try:
        compiled({keyword: value})
    except (ValidationError, ValueError):
        return False
    return True


def _unresolved(schema: Json) -> Iterator[str]:
    """Drop the references that point at no schema of this one."""
    found = list(subschemas(schema, ()))
    targets = ReadNames((tuple(map(str, path)), part) for path, part in found)
    for path, part in found:
        if isinstance(part, dict) and "$ref" in part and not targets.targets(str(part["$ref"])):
            del part["$ref"]
            yield f"{path_text((*path, '$ref'))} is not taken over: it points at no schema of this tool"


def _name_fault(schema: Json) -> str | None:
    """Return the reason why names of a schema cannot be compared with a caller's."""
    for _, part in subschemas(schema, ()):
        for keyword in ("properties", "dependentSchemas", "required"):
            names = part.get(keyword, ()) if isinstance(part, dict) else ()
            wrong = next((fault for name in names if isinstance(name, str) and (fault := folding.fault(name))), None)
            if wrong is not None:
                return f"the name of an argument {wrong}"
    return None


def _close(adopted: Json, schema: Json) -> Iterator[str]:
    """Refuse arguments that the schema does not name, where it says nothing about them."""
    properties = adopted.get("properties", {})
    if not _OPENING.isdisjoint(adopted) or not _OPENING.isdisjoint(schema):
        if adopted.get("additionalProperties") is not False and adopted.get("unevaluatedProperties") is not False:
            yield "its input schema accepts arguments that it does not name"
        return
    if not set(adopted.get("required", ())) <= properties.keys():
        yield "its input schema requires arguments that it does not describe"
        return
    adopted["additionalProperties"] = False
    if "properties" not in schema:
        yield "its input schema names no arguments, so a call with arguments is refused"


def _confusable(schema: Json) -> Iterator[str]:
    """Report the arguments of one tool that a lenient reader may confuse."""
    first: dict[str, str] = {}
    for name in schema.get("properties", {}):
        other = first.setdefault(folding.fold(name), name)
        if other != name:
            yield f"the arguments {other!r} and {name!r} are confusable: another parser may read one as the other"


def _nests(value: Any) -> bool:
    """Return True when a value nests deeper than `MAX_NESTED` levels."""
    level = [value]
    for _ in range(MAX_NESTED):
        level = [
            below
            for each in level
            if isinstance(each, dict | list)
            for below in (each.values() if isinstance(each, dict) else each)
        ]
    return any(isinstance(each, dict | list) for each in level)


def count_values(value: Any, most: int) -> int:
    """Return the number of values in a JSON value; `most` + 1 when there are more."""
    count, level = 0, [value]
    while level and count <= most:
        each = level.pop()
        count += 1
        if isinstance(each, dict):
            level += each.values()
        elif isinstance(each, list):
            level += each
    return count if not level else most + 1
