"""Argument rules of one tool: names that are not confusable, defaults, and a JSON Schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from jsonschema_rs import Draft202012Validator

from sidecar.errors import ErrorCode, Refusal
from sidecar.model import MAX_AMOUNT
from sidecar.policy.argument_faults.explaining import Explainer
from sidecar.policy.names import Names
from sidecar.policy.narrowing.schema_narrowing import Narrowing
from sidecar.policy.plain_arguments import UNSAFE, PlainRules
from sidecar.protocol.strict.strictjson import fold

Arguments = Mapping[str, Any]

_NOTHING: Final = Names()
_NO_PLACE: Final[Mapping[str, str]] = {}


@dataclass(frozen=True, slots=True, eq=False)
class ArgumentRules:
    """Rules of one tool for `params.arguments`.

    Attributes:
        names: names that the policy reads: declared properties, expressions and the confirmation.
        defaults: values for absent keys.
        validator: the compiled schema; None when the policy has none.
        explainer: describes the validator's errors; None exactly when the validator is.
        declared: names of the declared properties, in order.
        removed: an injected confirmation, removed before validation.
        schema: the schema as declared; None when the policy has none.
        narrowing: narrows the backend's schema in lists; None when the policy has no schema.
        shadow: rules in shadow mode: they are evaluated, and neither refuse nor change anything.
        plain: the same rules for the arguments of most calls; None when these rules judge all of them.
    """

    names: Names
    defaults: Mapping[str, Any] = field(default_factory=dict)
    validator: Draft202012Validator | None = None
    explainer: Explainer | None = None
    declared: tuple[str, ...] = ()
    removed: str | None = None
    schema: Mapping[str, Any] | None = None
    narrowing: Narrowing | None = None
    shadow: ArgumentRules | None = None
    plain: PlainRules | None = None

    def accepted(self, given: Arguments) -> Arguments:
        """Return the completed arguments.

        Raises:
            Refusal: they are not acceptable.
        """
        completed = None if self.plain is None else self.plain.accepted(given)
        if completed is not None:
            return completed
        refusal = self.confusable(given)
        if refusal is None:
            completed = self.complete(given)
            refusal = self.invalid(completed)
            if refusal is None:
                return completed
        raise refusal

    def complete(self, arguments: Arguments) -> Arguments:
        """Return the arguments with defaults added and an injected confirmation removed.

        Returns `arguments` itself when nothing changes. Accepts plain values and the document for
        forwarding.
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

    def confusable(self, arguments: Arguments) -> Refusal | None:
        """Refuse names and numbers that another parser may read differently."""
        code = _confusable(arguments, self.names)
        return None if code is None else _refusal(code, _IN_ARGUMENTS[code])

    def invalid(self, completed: Arguments) -> Refusal | None:
        """Refuse completed arguments that do not match the schema, with a reason where it is cheap to find."""
        if self.validator is None or self.explainer is None or self.validator.is_valid(completed):
            return None
        first, *others = self.explainer.explain(self.validator, completed)
        sentence = " ".join((first.sentence, *(each.sentence for each in others)))
        keyword = {"keyword": first.keyword} if first.keyword else {}
        return _refusal(ErrorCode.ARGUMENTS_REFUSED, sentence, {"argument": first.path, **keyword})

    def refusal(self, given: Arguments) -> Refusal | None:
        """Refuse given arguments that these rules would not accept, without changing them."""
        return self.confusable(given) or self.invalid(self.complete(given))


def check_meta(meta: object, names: Names) -> None:
    """Refuse names and numbers in the request's `_meta` that another parser may read differently.

    Raises:
        Refusal: `arguments_refused` or `params_malformed`.
    """
    code = _confusable(meta, names) if type(meta) is dict else None
    if code is not None:
        raise _refusal(code, _IN_META[code])


def _refusal(code: ErrorCode, sentence: str, place: Mapping[str, str] = _NO_PLACE) -> Refusal:
    """Return a refusal whose sentence, which names no value of the call, is in the log's `detail`, too."""
    return Refusal(code, sentence, specifics={**place, "arguments": sentence})


_IN_ARGUMENTS: Final = {
    ErrorCode.ARGUMENTS_REFUSED: ("An argument name is confusable with a declared one; use the exact declared name."),
    # Servers disagree on integers beyond 2^53; those that no rule reads are forwarded as written.
    ErrorCode.PARAMS_MALFORMED: "An integer argument is beyond 2^53 - 1, where parsers disagree.",
}
_IN_META: Final = {
    ErrorCode.ARGUMENTS_REFUSED: "A name in _meta is confusable with one that sets the price; use the exact name.",
    ErrorCode.PARAMS_MALFORMED: "An integer in _meta is beyond 2^53 - 1, where parsers disagree.",
}


def _confusable(members: Arguments, names: Names) -> ErrorCode | None:
    for key, value in members.items():
        below = names.children.get(key)
        if below is None:
            if key in UNSAFE or (names.folded and fold(key) in names.folded):
                return ErrorCode.ARGUMENTS_REFUSED
            below = names.others or _NOTHING
        if type(value) in _LOOKED_INTO:
            code = _confusable_value(value, below)
            if code is not None:
                return code
    return None


def _confusable_value(value: Any, below: Names) -> ErrorCode | None:
    if type(value) is dict:
        return _confusable(value, below)
    if type(value) is int:
        read = below is not _NOTHING
        return ErrorCode.PARAMS_MALFORMED if read and not -MAX_AMOUNT <= value <= MAX_AMOUNT else None
    element = _NOTHING if below is _NOTHING else below.element or _UNNAMED
    for item in value:
        if type(item) in _LOOKED_INTO:
            code = _confusable_value(item, element)
            if code is not None:
                return code
    return None


_LOOKED_INTO: Final = frozenset({dict, list, int})
_UNNAMED: Final = Names()  # elements of a list that is read whole: it has no names, but its numbers are read
