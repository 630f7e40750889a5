"""Patterns of URIs: `*` matches any characters, and the most specific matching pattern applies.

A pattern without `*` precedes all others, then the one with the longest literal text before its first `*`.
The URI is matched as sent. It is ambiguous if a more lenient parser (see `uris.readings`) finds it under a
more specific pattern; then no pattern applies.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from sidecar.protocol.uris import uris
from sidecar.protocol.uris.ordinary import Readings, is_settled, ordinary_readings

WILDCARD: Final = "*"
_ANYTHING: Final = "\0"  # stands for any text; no literal contains it


@dataclass(frozen=True, slots=True)
class Pattern:
    """One pattern.

    Attributes:
        literals: the literal texts around its wildcards; one literal without wildcards.
    """

    literals: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> Pattern:
        """Parse a pattern of the policy."""
        return cls(tuple(text.split(WILDCARD)))

    @classmethod
    def of_template(cls, template: str) -> Pattern:
        """Return the pattern of a URI template (RFC 6570), with its expressions as wildcards."""
        return cls(tuple(uris.template_literals(template)))

    @property
    def exact(self) -> bool:
        """Return True when the pattern has no wildcard."""
        return len(self.literals) == 1

    @property
    def prefix(self) -> str:
        """Literal text before the first wildcard."""
        return self.literals[0]

    def folded(self) -> Pattern:
        """Return the pattern for folded texts."""
        return Pattern(tuple(map(uris.fold, self.literals)))

    def matches(self, text: str) -> bool:
        """Return True when it matches a text; takes linear time in the text for each wildcard."""
        literals = self.literals
        first, last = literals[0], literals[-1]
        if len(literals) == 1:
            return text == first
        if len(literals) == 2 and not last:  # most patterns
            return text.startswith(first)
        if not text.startswith(first) or not text.endswith(last):
            return False
        at, end = len(first), len(text) - len(last)
        if at > end:
            return False
        for literal in literals[1:-1]:
            found = text.find(literal, at, end)
            if found < 0:
                return False
            at = found + len(literal)
        return True

    def overlaps(self, other: Pattern) -> bool:
        """Return True when some text matches both patterns."""
        if self.exact:
            return other.matches(self.prefix)
        if other.exact:
            return self.matches(other.prefix)
        # When both patterns have wildcards, the wildcards of each can match the middle part of the second.
        ends = ((self.prefix, other.prefix, str.startswith), (self.literals[-1], other.literals[-1], str.endswith))
        return all(agree(one, two) or agree(two, one) for one, two, agree in ends)

    def covers(self, other: Pattern) -> bool:
        """Return True when this pattern matches every text that `other` matches."""
        return self.matches(_ANYTHING.join(other.literals))


@dataclass(frozen=True, slots=True)
class _Rivals:
    """Folded patterns that are more specific than one pattern.

    Attributes:
        exact: the patterns without a wildcard.
        ends: the same without slashes at their ends.
        globs: the patterns with wildcards.
        prefixes: the literal texts before the first wildcards of `globs`.
    """

    exact: frozenset[str]
    ends: frozenset[str]
    globs: tuple[Pattern, ...]
    prefixes: tuple[str, ...]

    @classmethod
    def of(cls, own: Pattern, folded: Iterable[Pattern]) -> _Rivals:
        stricter = [pattern for pattern in folded if _more_specific(pattern, own)]
        exact = frozenset(pattern.prefix for pattern in stricter if pattern.exact)
        ends = frozenset(text.rstrip("/") for text in exact)
        globs = tuple(pattern for pattern in stricter if not pattern.exact)
        return cls(exact, ends, globs, tuple(dict.fromkeys(glob.prefix for glob in globs)))

    def match(self, read: Readings) -> bool:
        """Return True when one of them matches a reading, or names it except for a slash at its end."""
        if self.exact and (
            not self.exact.isdisjoint(read) or read.open in self.ends or read.loose.rstrip("/") in self.ends
        ):
            return True
        if self.prefixes:
            for text in read:  # few begin like a stricter pattern
                if text.startswith(self.prefixes) and any(glob.matches(text) for glob in self.globs):
                    return True
        return False


class Patterns:
    """Patterns of one policy.

    Args:
        texts: the declared patterns; no two of them may tie (see `ties`).
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._patterns = {text: Pattern.of(text) for text in texts}
        self._folded = {text: pattern.folded() for text, pattern in self._patterns.items()}
        globs = [text for text, pattern in self._patterns.items() if not pattern.exact]
        globs.sort(key=lambda text: -len(self._patterns[text].prefix))
        self._globs = [(text, self._patterns[text].prefix, self._patterns[text]) for text in globs]
        self._all_folded = self._folded == self._patterns
        self._rivals = {text: _Rivals.of(folded, self._folded.values()) for text, folded in self._folded.items()}

    def find(self, uri: str) -> str | None:
        """Return the most specific pattern that matches a URI as sent; None without a match."""
        pattern = self._patterns.get(uri)
        if pattern is not None and pattern.exact:
            return uri
        for text, prefix, glob in self._globs:
            if uri.startswith(prefix) and glob.matches(uri):
                return text
        return None

    def find_certain(self, uri: str) -> str | None:
        """Return the pattern that every reader finds a URI under; None if there is none, or the URI is refused.

        The entries of a list are many and short, so most are decided without their readings: where all patterns and
        the URI are as folded, no reader finds a more specific pattern, except for a slash at its end.
        """
        found = self.find(uri)
        if found is None:
            return None
        if self._all_folded and is_settled(uri):
            return found if self._patterns[found].exact or uri not in self._rivals[found].ends else None
        try:
            read = ordinary_readings(uri)
        except ValueError:
            return None
        if read is None:
            if uris.complete_fault(uri) is not None:
                return None
            read = uris.complete_readings(uri)
        return None if self._read_elsewhere(read, found) else found

    def ambiguous(self, uri: str, found: str) -> bool:
        """Return True when a more lenient parser may find a URI under a different pattern.

        A different pattern counts when it is more specific. And a pattern without a query must match the
        URI without its query too: many servers ignore a query, so it must not replace a path.
        """
        return self._read_elsewhere(uris.readings(uri), found)

    def _read_elsewhere(self, read: Readings, found: str) -> bool:
        if self._patterns[found].exact:
            return False  # this exact spelling is declared
        if "?" not in found and ";" not in found:
            own = self._folded[found]
            if not own.matches(read.bare) or (read.joined is not read.bare and not own.matches(read.joined)):
                return True
        return self._rivals[found].match(read)

    def met(self, template: str, *, loosely: bool = False) -> Iterator[str]:
        """Return the patterns that match some URI of a template; `loosely` for a more lenient parser too."""
        wanted = Pattern.of_template(template)
        folded = wanted.folded() if loosely else None
        # The backend decides where the parameters of a template begin and end.
        anything = folded is not None and any(";" in literal for literal in folded.literals)
        for text, pattern in self._patterns.items():
            if anything or pattern.overlaps(wanted) or (folded is not None and self._folded[text].overlaps(folded)):
                yield text

    def covered(self, template: str) -> bool:
        """Return True when one pattern matches every URI of a template."""
        wanted = Pattern.of_template(template)
        return any(pattern.covers(wanted) for pattern in self._patterns.values())


def _more_specific(one: Pattern, two: Pattern) -> bool:
    return (len(one.prefix), one.exact) > (len(two.prefix), two.exact)


def ties(texts: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield each pattern that ties with an earlier one, and the earlier one: neither is more specific."""
    before: list[str] = []
    for text in texts:
        pattern = Pattern.of(text)
        for other in before:
            rival = Pattern.of(other)
            even = not pattern.exact and not rival.exact and len(pattern.prefix) == len(rival.prefix)
            if even and pattern.overlaps(rival):
                yield text, other
                break
        before.append(text)
