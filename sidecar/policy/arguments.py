"""What a tool's arguments must be: names nobody can disguise, defaults, and a JSON Schema.

Messages name arguments that the policy declares and what it accepts, never a value or a name that
the caller made up: they reach the log as well as the caller.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from jsonschema_rs import Draft202012Validator, ValidationError

from sidecar.errors import ErrorCode, Refusal
from sidecar.model import MAX_AMOUNT
from sidecar.policy.names import Names
from sidecar.protocol.strictjson import fold

Arguments = Mapping[str, Any]

# Keys that unsafe merges in JavaScript backends turn into something else than data.
_POISONED: Final = frozenset({"__proto__", "constructor"})


_NOTHING: Final = Names()


@dataclass(frozen=True, slots=True, eq=False)
class ArgumentRules:
    """What one tool asks of `params.arguments`.

    Attributes:
        names: what the policy reads: declared properties, expressions and the confirmation.
        defaults: values for absent keys.
        validator: the compiled schema; None when the policy has none.
        declared: names of the declared properties, in order, for messages.
        removed: an injected confirmation: taken out before the schema is asked.
    """

    names: Names
    defaults: Mapping[str, Any] = field(default_factory=dict)
    validator: Draft202012Validator | None = None
    declared: tuple[str, ...] = ()
    removed: str | None = None

    def complete(self, arguments: Arguments) -> Arguments:
        """The arguments to judge and forward: defaults filled in, an injected confirmation taken out.

        Returns `arguments` itself when nothing changes. Works on plain values and on the document
        for forwarding alike.
        """
        missing = [name for name in self.defaults if name not in arguments]
        if not missing and (self.removed is None or self.removed not in arguments):
            return arguments
        completed = dict(arguments)
        if self.removed is not None:
            completed.pop(self.removed, None)
        for name in missing:
            completed[name] = self.defaults[name]
        return completed

    def disguised(self, arguments: Arguments) -> Refusal | None:
        """Refuse names and numbers that another parser may read as something else."""
        code = _disguised(arguments, self.names)
        return None if code is None else Refusal(code, _IN_ARGUMENTS[code])

    def invalid(self, completed: Arguments) -> Refusal | None:
        """Refuse completed arguments that do not match the schema; tells the first few mistakes."""
        if self.validator is None or self.validator.is_valid(completed):
            return None
        sentences: dict[str, None] = {}
        for error in self.validator.iter_errors(completed):
            sentences[self._sentence(error)] = None
            if len(sentences) == _TOLD:
                break
        return Refusal(ErrorCode.ARGUMENTS_REFUSED, " ".join(sentences))

    def _sentence(self, error: ValidationError) -> str:
        """One mistake in the schema's words; the validator's own message would quote the value."""
        where = self._place(error.instance_path)
        facts = error.kind.as_dict()
        form = _SENTENCES.get(error.kind.name)
        if form is not None:
            return form.format(where=where, **{key: _shown(value) for key, value in facts.items()})
        if error.kind.name in _UNEXPECTED:
            accepted = ", ".join(self.declared) or "none"
            return f"There are arguments that this tool does not accept; it accepts {accepted}."
        return f"{where} is not acceptable (its schema's {error.kind.name})."

    def _place(self, path: list[str | int]) -> str:
        level: Names | None = self.names
        shown: list[str] = []
        for step in path:
            if isinstance(step, int):
                shown.append(f"[{step}]")
                level = level.element if level else None
                continue
            below = level.children.get(step) if level else None
            shown.append(f".{step}" if below is not None else ".*")
            level = level.others if level and below is None else below
        return "".join(shown).lstrip(".") or "The arguments object"


_TOLD: Final = 3
_UNEXPECTED: Final = frozenset({"additionalProperties", "unevaluatedProperties", "propertyNames", "falseSchema"})
_SENTENCES: Final = {
    "type": "{where} must be of type {types}.",
    "required": "{where} lacks {property}.",
    "minimum": "{where} must be at least {limit}.",
    "maximum": "{where} must be at most {limit}.",
    "exclusiveMinimum": "{where} must be more than {limit}.",
    "exclusiveMaximum": "{where} must be less than {limit}.",
    "minItems": "{where} must have at least {limit} elements.",
    "maxItems": "{where} must have at most {limit} elements.",
    "minLength": "{where} must have at least {limit} characters.",
    "maxLength": "{where} must have at most {limit} characters.",
    "minProperties": "{where} must have at least {limit} members.",
    "maxProperties": "{where} must have at most {limit} members.",
    "multipleOf": "{where} must be a multiple of {multiple_of}.",
    "pattern": "{where} must match the pattern {pattern}.",
    "format": "{where} must have the format {format}.",
    "enum": "{where} must be one of {options}.",
    "const": "{where} must be {expected_value}.",
    "uniqueItems": "{where} must not repeat an element.",
}


def _shown(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(_shown(item) for item in value)
    return str(value)


def meta_disguised(meta: object, names: Names) -> Refusal | None:
    """Refuse names and numbers in the request's `_meta` that another parser may read as something else."""
    code = _disguised(meta, names) if type(meta) is dict else None
    return None if code is None else Refusal(code, _IN_META[code])


_IN_ARGUMENTS: Final = {
    ErrorCode.ARGUMENTS_REFUSED: (
        "An argument's name looks like another one's without being the same; use the names as listed."
    ),
    # Beyond 2^53 servers disagree on which number was sent; unread ones are forwarded as written.
    ErrorCode.PARAMS_MALFORMED: "An integer argument is beyond 2^53 - 1, where parsers disagree.",
}
_IN_META: Final = {
    ErrorCode.ARGUMENTS_REFUSED: "A name in _meta looks like one that sets the price without being the same.",
    ErrorCode.PARAMS_MALFORMED: "An integer in _meta is beyond 2^53 - 1, where parsers disagree.",
}


def _disguised(members: Arguments, names: Names) -> ErrorCode | None:
    for key, value in members.items():
        below = names.children.get(key)
        if below is None:
            if key in _POISONED or (names.folded and fold(key) in names.folded):
                return ErrorCode.ARGUMENTS_REFUSED
            below = names.others or _NOTHING
        if type(value) in _LOOKED_INTO:
            code = _disguised_value(value, below)
            if code is not None:
                return code
    return None


def _disguised_value(value: Any, below: Names) -> ErrorCode | None:
    if type(value) is dict:
        return _disguised(value, below)
    if type(value) is int:
        read = below is not _NOTHING
        return ErrorCode.PARAMS_MALFORMED if read and not -MAX_AMOUNT <= value <= MAX_AMOUNT else None
    element = _NOTHING if below is _NOTHING else below.element or _UNNAMED
    for item in value:
        if type(item) in _LOOKED_INTO:
            code = _disguised_value(item, element)
            if code is not None:
                return code
    return None


_LOOKED_INTO: Final = frozenset({dict, list, int})
_UNNAMED: Final = Names()  # elements of a list that is read whole: no names, but numbers that count
