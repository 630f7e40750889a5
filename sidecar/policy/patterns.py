"""Patterns of URIs: `*` is any characters, and of those that match a URI the most exact one counts.

A pattern that names a URI exactly beats all others; the longest literal text before the first `*` comes next.
Matching is of the text of a URI as it was sent. Beside it stands a second question: would a reader who takes
that text more loosely (see `uris.readings`) find it under a rule that is more exact? Then no rule counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from sidecar.protocol import uris

WILDCARD: Final = "*"
_ANYTHING: Final = "\0"  # stands for a part of a text that may be anything: no literal holds it


@dataclass(frozen=True, slots=True)
class Pattern:
    """One pattern.

    Attributes:
        literals: the literal texts around its wildcards; a single one when there are none.
    """

    literals: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> Pattern:
        """Read a pattern of the policy."""
        return cls(tuple(text.split(WILDCARD)))

    @classmethod
    def of_template(cls, template: str) -> Pattern:
        """All that a URI template (RFC 6570) may become: its expressions taken for wildcards."""
        return cls(tuple(uris.template_literals(template)))

    @property
    def exact(self) -> bool:
        """Whether it matches one text alone."""
        return len(self.literals) == 1

    @property
    def prefix(self) -> str:
        """The literal text before the first wildcard."""
        return self.literals[0]

    def folded(self) -> Pattern:
        """The same, for texts that were folded."""
        return Pattern(tuple(map(uris.fold, self.literals)))

    def matches(self, text: str) -> bool:
        """Whether it matches a text; in time that is linear in the text for each wildcard."""
        first, *others = self.literals
        if not others:
            return text == first
        *middle, last = others
        at, end = len(first), len(text) - len(last)
        if at > end or not text.startswith(first) or not text.endswith(last):
            return False
        for literal in middle:
            found = text.find(literal, at, end)
            if found < 0:
                return False
            at = found + len(literal)
        return True

    def names(self, text: str) -> bool:
        """Whether it is exact and names a text that has no slash at its end, with or without one."""
        return self.exact and self.prefix.rstrip("/") == text

    def meets(self, other: Pattern) -> bool:
        """Whether there is a text that both match."""
        if self.exact:
            return other.matches(self.prefix)
        if other.exact:
            return self.matches(other.prefix)
        # Wildcards on both sides take in whatever the other one has between its ends.
        ends = ((self.prefix, other.prefix, str.startswith), (self.literals[-1], other.literals[-1], str.endswith))
        return all(agree(one, two) or agree(two, one) for one, two, agree in ends)

    def covers(self, other: Pattern) -> bool:
        """Whether it matches every text that the other one does."""
        return self.matches(_ANYTHING.join(other.literals))


class Patterns:
    """The patterns of one policy.

    Args:
        texts: as declared; no two of them may tie (see `ties`).
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._patterns = {text: Pattern.of(text) for text in texts}
        self._folded = {text: pattern.folded() for text, pattern in self._patterns.items()}
        globs = [text for text, pattern in self._patterns.items() if not pattern.exact]
        self._globs = sorted(globs, key=lambda text: -len(self._patterns[text].prefix))

    def find(self, uri: str) -> str | None:
        """The most exact pattern that matches a URI as it was sent; None when none does."""
        pattern = self._patterns.get(uri)
        if pattern is not None and pattern.exact:
            return uri
        return next((text for text in self._globs if self._patterns[text].matches(uri)), None)

    def ambiguous(self, uri: str, found: str) -> bool:
        """Whether a looser reader might find a URI under another pattern than the one it was found under.

        Another one counts when it is more exact: then the author of the policy meant it to be met. And a
        pattern that says nothing of queries must match without the query too: a query is ignored by many, and
        must not stand in for a path.
        """
        if self._patterns[found].exact:
            return False  # this very spelling was declared
        own = self._folded[found]
        folded, *bare = uris.readings(uri)
        if "?" not in found and ";" not in found and not own.matches(bare[0]):
            return True
        readings = {folded, *bare}
        return any(
            _more_exact(pattern, own) and (any(map(pattern.matches, readings)) or pattern.names(bare[1]))
            for pattern in self._folded.values()
        )

    def met(self, template: str, *, loosely: bool = False) -> Iterator[str]:
        """The patterns that match something that a URI template may become; if asked, to a looser reader too."""
        wanted = Pattern.of_template(template)
        folded = wanted.folded()
        for text, pattern in self._patterns.items():
            if pattern.meets(wanted) or (loosely and self._folded[text].meets(folded)):
                yield text

    def covered(self, template: str) -> bool:
        """Whether one pattern matches all that a URI template may become."""
        wanted = Pattern.of_template(template)
        return any(pattern.covers(wanted) for pattern in self._patterns.values())


def _more_exact(one: Pattern, two: Pattern) -> bool:
    return (len(one.prefix), one.exact) > (len(two.prefix), two.exact)


def ties(texts: Iterable[str], tell: Callable[[str, str], None]) -> None:
    """Tell each pattern, and the one before it, between which nothing decides."""
    before: list[str] = []
    for text in texts:
        pattern = Pattern.of(text)
        for other in before:
            rival = Pattern.of(other)
            even = not pattern.exact and not rival.exact and len(pattern.prefix) == len(rival.prefix)
            if even and pattern.meets(rival):
                tell(text, other)
                break
        before.append(text)
