"""Description of common YAML mistakes at the place of the mistake, which is often not where the parser stops."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import yaml

from sidecar.config.documents.positions import Position, Problem

Finding = tuple[int, int, str, str]
"""Line and column, counted from 0, the fault, and the accepted form."""

_GOT: Final = re.compile(r"(?:but got|but found) '([^']+)'")
_JOINED_KEY: Final = re.compile(r"\s*(?:- +)*([^\s:#\"'{}\[\],]+):(?=[^\s/:])")
_ASSIGNED: Final = re.compile(r"\s*(?:- +)*[\w.-]+\s*(=)")
_NESTED_COLON: Final = re.compile(r"\s*(?:- +)*[^\s].*?:\s")
_LINE_ENDS: Final = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_QUOTES: Final = "quotes around the value"


@dataclass(frozen=True, slots=True)
class _Broken:
    """A text that is no YAML, and the parser's account of it."""

    text: str
    lines: list[str]
    problem: str
    context: str
    line: int
    column: int
    start: tuple[int, int]

    @property
    def got(self) -> str:
        """Return the token that the parser met."""
        found = _GOT.search(self.problem)
        return found[1] if found else ""

    @property
    def before(self) -> str:
        """Return the text of the line before the place where the parser stopped."""
        return self.row(self.line)[: self.column]

    def row(self, number: int) -> str:
        """Return a line; empty behind the last one."""
        return self.lines[number] if 0 <= number < len(self.lines) else ""

    def letter(self, line: int, column: int) -> str:
        """Return one character; empty behind the end of a line."""
        return self.row(line)[column : column + 1]

    def previous(self, number: int) -> int:
        """Return the number of the last line with content before a line; -1 without one."""
        for line in range(number - 1, -1, -1):
            if self.row(line).strip() and not self.row(line).lstrip().startswith("#"):
                return line
        return -1


def describe(file: str, text: str, error: yaml.MarkedYAMLError) -> Problem:
    """Return the problem of a text that the YAML parser rejects; it repeats nothing but keys and punctuation."""
    mark = error.problem_mark or error.context_mark
    start = error.context_mark or mark
    if mark is None or start is None:
        return Problem(Position(file), "", f"not YAML: {error.problem or error.context}")
    broken = _Broken(
        text,
        _LINE_ENDS.split(text),
        error.problem or "",
        error.context or "",
        mark.line,
        mark.column,
        (start.line, start.column),
    )
    line, column, wrong, accepted = next(_findings(broken), (mark.line, mark.column, _plain(broken), ""))
    return Problem(Position(file, line + 1, column + 1), "", f"not YAML: {wrong}", accepted)


def without_keys(file: str, text: str, place: Position) -> Problem:
    """Return the problem of a document that is one text: its first key has no colon, or no blank after it."""
    broken = _Broken(text, _LINE_ENDS.split(text), "", "", place.line - 1, place.column - 1, (0, 0))
    for line, column, wrong, accepted in _faulty_key(broken, place.line - 1, alone=False):
        return Problem(Position(file, line + 1, column + 1), "", f"not YAML: {wrong}", accepted)
    return Problem(place, "(top)", "the file is not a mapping", "keys with values")


def _plain(broken: _Broken) -> str:
    return broken.problem or broken.context


def _findings(broken: _Broken) -> Iterator[Finding]:
    """Yield descriptions, the best one first."""
    for part, describe_it in _BY_PROBLEM.items():
        if part in broken.problem or part in broken.context:
            yield from describe_it(broken)


# --- quotes and brackets -----------------------------------------------------------------------


def _unclosed_quote(broken: _Broken) -> Iterator[Finding]:
    if "end of stream" in broken.problem or "document separator" in broken.problem:
        yield *broken.start, "a quote that is not closed", "the same quote at the end of the value"


def _escape(broken: _Broken) -> Iterator[Finding]:
    letter = broken.letter(broken.line, broken.column)
    accepted = f"single quotes, or \\\\{letter}"
    yield broken.line, broken.column - 1, f"\\{letter} is no escape sequence of double quotes", accepted


def _text_after_quote(broken: _Broken) -> Iterator[Finding]:
    """Find a quoted value right before the place: it was closed too late, in a later line, or too early."""
    found = _quoted_before(broken)
    if found is None:
        return
    token, end = found.start_mark, found.end_mark
    if token.line != end.line:
        yield token.line, token.column, "a quote that is not closed", "the same quote at the end of the value"
    elif broken.letter(end.line, end.column - 1) == "'":
        accepted = "'' for an apostrophe inside of single quotes, or double quotes"
        yield end.line, end.column - 1, "text after the closing quote", accepted
    else:
        yield end.line, end.column - 1, "text after the closing quote", '\\" for a quote inside of the value'


def _quoted_before(broken: _Broken) -> yaml.ScalarToken | None:
    """Return the quoted scalar that ends on the parser's line before the place, with nothing but blanks between."""
    last: yaml.ScalarToken | None = None
    try:
        for token in yaml.scan(broken.text, Loader=yaml.SafeLoader):
            if (token.start_mark.line, token.start_mark.column) >= (broken.line, broken.column):
                break
            last = token if isinstance(token, yaml.ScalarToken) and token.style in ("'", '"') else None
    except yaml.YAMLError:  # the scanner stops where the parser did, or later
        pass
    if last is None or last.end_mark.line != broken.line:
        return None
    return last if not broken.before[last.end_mark.column :].strip() else None


def _flow(broken: _Broken) -> Iterator[Finding]:
    """Describe a mapping in braces or a list in brackets with a token that cannot follow."""
    bracket, got = broken.letter(*broken.start), broken.got
    yield from _brace_in_value(broken)
    if broken.letter(broken.line, broken.column) not in ("'", '"'):
        yield from _text_after_quote(broken)
    indent = len(broken.row(broken.start[0])) - len(broken.row(broken.start[0]).lstrip())
    inside = broken.line == broken.start[0] or len(broken.row(broken.line)) - len(broken.row(broken.line).lstrip())
    closing = {"{": "}", "[": "]"}.get(bracket, "}")
    if got in ("}", "]"):
        place = f"line {broken.line + 1}"
        yield *broken.start, f"{bracket} is not closed before the {got} in {place}", f"{closing} at its end"
    elif got == "<stream end>" or (inside is not True and inside <= indent):
        yield *broken.start, f"{bracket} is not closed", f"{closing} at its end"
    else:
        column = broken.column
        if got == ":":  # two entries without a comma were read as one text
            column = len(broken.before.rstrip()) - len(re.split(r"[\s,{\[]", broken.before.rstrip())[-1])
        yield broken.line, column, "no comma between two entries", "a comma before this one"


def _brace_in_value(broken: _Broken) -> Iterator[Finding]:
    if broken.got not in ("{", "[") or not broken.before or broken.before[-1].isspace():
        return
    if broken.before.endswith("$"):
        accepted = 'quotes around a "${...}" that stands inside of {} or []'
        yield broken.line, broken.column - 1, "a ${...} without quotes", accepted
    elif broken.before[-1] not in "}],":
        yield broken.line, broken.column, f"a {broken.got} inside of a value without quotes", _QUOTES


def _no_node(broken: _Broken) -> Iterator[Finding]:
    got = broken.got
    if got in ("}", "]"):
        yield broken.line, broken.column, f"a {got} that closes nothing", "one for each opening bracket"
    elif got == ",":
        yield broken.line, broken.column, "a comma without a value before it", "a value, or no comma"


# --- keys and colons ---------------------------------------------------------------------------


def _colon(broken: _Broken) -> Iterator[Finding]:
    """Describe a colon that cannot be one of a key: in a value, or in the line after a faulty one."""
    if _NESTED_COLON.match(broken.before):
        accepted = f"{_QUOTES}, or its keys in lines of their own"
        yield broken.line, broken.column, "a colon in a value without quotes", accepted
        return
    above = broken.previous(broken.line)
    yield from _faulty_key(broken, above)
    indent = len(broken.before) - len(broken.before.lstrip(" -"))
    wrong = f"a line that is indented deeper than line {above + 1}, which has a value already"
    yield broken.line, indent, wrong, f"the indentation of line {above + 1}"


def _key_alone(broken: _Broken) -> Iterator[Finding]:
    line, column = broken.start
    yield from _faulty_key(broken, line)
    yield line, column, "a key without a colon", "key: value"


def _faulty_key(broken: _Broken, line: int, *, alone: bool = True) -> Iterator[Finding]:
    """Find a key that a colon and a blank do not follow; `alone` also finds a text without a colon."""
    row = broken.row(line)
    joined, assigned = _JOINED_KEY.match(row), _ASSIGNED.match(row)
    if joined is not None:
        accepted = f"{joined[1]}: value, with a blank after the colon"
        yield line, joined.end() - 1, "no blank after the colon", accepted
    elif assigned is not None:
        yield line, assigned.start(1), "= after a key", "a colon and a blank"
    elif alone and line >= 0 and ":" not in row:
        yield line, len(row) - len(row.lstrip()), "a key without a colon", "key: value"


# --- indentation and first letters -------------------------------------------------------------


def _block(broken: _Broken) -> Iterator[Finding]:
    """Describe a token that ends a mapping or list of lines too early."""
    got = broken.got
    yield from _no_node(broken)
    yield from _text_after_quote(broken)
    if got == "-":
        wrong = f"a list entry among the keys that begin in line {broken.start[0] + 1}"
        yield broken.line, broken.column, wrong, "keys only, or another indentation"
    elif got == "?":
        wrong = f"a key among the list entries that begin in line {broken.start[0] + 1}"
        yield broken.line, broken.column, wrong, "entries that begin with -, or another indentation"
    elif got in ("<block mapping start>", "<block sequence start>"):
        accepted = "the blanks of the lines that it belongs to"
        yield broken.line, broken.column, "an indentation that no line above has", accepted
    else:
        yield broken.line, broken.column, "text after the end of a value", "one value, or quotes around all of it"


def _first_letter(broken: _Broken) -> Iterator[Finding]:
    letter = broken.letter(broken.line, broken.column)
    if letter == "\t":
        yield broken.line, broken.column, "a tab", "blanks"
    elif letter:
        yield broken.line, broken.column, f"a value or key that begins with {letter}", "quotes around it"


def _reference(broken: _Broken) -> Iterator[Finding]:
    letter = broken.letter(*broken.start)
    wrong = f"a value or key that begins with {letter}, which YAML reads as a reference"
    yield *broken.start, wrong, f'quotes around it, such as "{letter}"'


def _entry_on_key_line(broken: _Broken) -> Iterator[Finding]:
    yield broken.line, broken.column, "a list entry in the line of its key", "[…], or entries in the next lines"


def _directive(broken: _Broken) -> Iterator[Finding]:
    yield *broken.start, "a line that begins with %", "quotes around it"


def _question(broken: _Broken) -> Iterator[Finding]:
    yield broken.line, broken.column, "a value that begins with ?", "quotes around it"


def _block_text(broken: _Broken) -> Iterator[Finding]:
    letter = broken.letter(*broken.start)
    yield *broken.start, f"text in the line of the {letter}", f"text in the next lines, or {_QUOTES}"


def _second_document(broken: _Broken) -> Iterator[Finding]:
    yield broken.line, broken.column, "text after the end of the document", "one document per file"


_BY_PROBLEM: Final[dict[str, Callable[[_Broken], Iterator[Finding]]]] = {
    "unknown escape": _escape,
    "scanning a quoted scalar": _unclosed_quote,
    "scanning a double-quoted scalar": _unclosed_quote,
    "mapping values are not allowed": _colon,
    "could not find expected ':'": _key_alone,
    "parsing a flow mapping": _flow,
    "parsing a flow sequence": _flow,
    "parsing a flow node": _no_node,
    "parsing a block node": _no_node,
    "expected <block end>": _block,
    "cannot start any token": _first_letter,
    "scanning an alias": _reference,
    "scanning an anchor": _reference,
    "sequence entries are not allowed": _entry_on_key_line,
    "mapping keys are not allowed": _question,
    "scanning a directive": _directive,
    "scanning a block scalar": _block_text,
    "expected '<document start>'": _second_document,
}
"""Parts of PyYAML's sentences, and the function that describes the mistake behind them."""
