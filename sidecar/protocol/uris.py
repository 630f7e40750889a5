"""URIs that every reader takes for the same resource, or none at all.

A pattern of the policy is matched against the text of a URI, and the backend resolves that text in its own
way: it may decode it once or twice, fold what looks alike, remove dot segments (RFC 3986, section 5.2.4), or
take a user name for a host. What could lead two readers to two resources is refused before any pattern is
asked.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final
from urllib.parse import unquote

MAX_LENGTH: Final = 8192
"""The longest URI in characters: more than any header that mirrors it can hold."""

_LAYERS: Final = 5  # the URI as sent, and what may come out of decoding and folding it
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_AUTHORITY: Final = re.compile(r"[^/?#]*//([^/?#]*)")
_STRAY: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
# Encoded control characters, dots, slashes and backslashes.
_HIDDEN: Final = re.compile(r"%(?:[01][0-9A-Fa-f]|7[Ff]|2[EeFf]|5[Cc])")
_DELIMITERS: Final = re.compile(r"[/?#;:=&]")
_SEPARATORS: Final = frozenset("/\\.%")
# Slashes that no normalisation folds, and some file systems and fonts do.
_SLASHES: Final = frozenset("\u2044\u2215\u2216\u29f5\u29f8\u29f9")
_CONTROLS: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
_REPEATED: Final = re.compile(r"(?<!:)/{2,}")
_PARAMETERS: Final = re.compile(r";[^/]*")
# The ports that schemes have anyway; and what resolvers and some file systems drop at the end of a name.
_USUAL: Final = re.compile(r"^([a-z][a-z0-9+.-]*://[^/]*?):(?:80|443)?(?=/|$)")
_TRAILING: Final = re.compile(r"[. ]+(?=/|$)")
_EXPRESSION: Final = re.compile(r"\{[^{}]*\}")


def fault(uri: str) -> str | None:
    """Why a URI is not served, as a sentence that does not quote it; None when it is."""
    if not 0 < len(uri) <= MAX_LENGTH:
        return f"A URI has between 1 and {MAX_LENGTH} characters."
    if not _SCHEME.match(uri):
        return "A URI begins with its scheme."
    if " " in uri or not uri.isprintable():
        return "A URI holds no spaces or control characters."
    if "#" in uri:
        return "The URI of a resource has no fragment."
    if _STRAY.search(uri):
        return "A percent sign in a URI is followed by two hexadecimal digits."
    try:
        for text in _stages(uri):
            wrong = _wrong(text)
            if wrong is not None:
                return wrong
    except UnicodeDecodeError:
        return "What a URI encodes is UTF-8."
    except _TooDeepError:
        return "A URI is not encoded several times over."
    return None


def fault_around(literals: Sequence[str]) -> str | None:
    """The same of a pattern or template: of its literal texts, whatever may stand between them."""
    text = "x".join(literals)
    if len(literals) > 1 and ":" not in literals[0] and not _SCHEME.match(text):
        text = f"x:{text}"  # the scheme is in what may stand there
    return fault(text)


def template_literals(template: str) -> list[str]:
    """The texts of a URI template (RFC 6570) around its expressions."""
    return _EXPRESSION.split(template)


def fold(text: str) -> str:
    """What a lenient reader may take an acceptable URI, or a part of a pattern, for.

    Decoded and in one case, without what nobody sees, repeated slashes as one.
    """
    with suppress(UnicodeDecodeError, _TooDeepError):  # no acceptable URI has such a part
        *_, text = _stages(text)
    if not text.isascii():
        text = unicodedata.normalize("NFKC", _seen(text))
    return _REPEATED.sub("/", text.casefold())


def readings(uri: str) -> Iterator[str]:
    """What lenient readers take a URI for.

    Folded; the same without query and parameters; without a last slash; without what names do not need.
    """
    folded = fold(uri)
    yield folded
    bare = without_query(folded)
    yield bare
    yield bare.rstrip("/")
    yield _TRAILING.sub("", _USUAL.sub(r"\1", bare))


def without_query(folded: str) -> str:
    """A folded URI as those see it who leave out its query, its fragment and the parameters of its segments."""
    return _PARAMETERS.sub("", re.split(r"[?#]", folded, maxsplit=1)[0])


def _stages(text: str) -> Iterator[str]:
    """A text as it stands, and after each layer of encoding that readers may take off, as long as that changes it.

    Raises:
        UnicodeDecodeError: it encodes something else than UTF-8.
        _TooDeepError: the layers do not end.
    """
    for _ in range(_LAYERS):
        yield text
        decoded = unquote(text, errors="strict") if "%" in text else text
        if decoded == text and not text.isascii():
            decoded = unicodedata.normalize("NFKC", text)
        if decoded == text:
            return
        text = decoded
    raise _TooDeepError


class _TooDeepError(ValueError):
    """A text is encoded in more layers than anybody has a reason for."""


def _wrong(text: str) -> str | None:
    """What is wrong with a URI at one stage of its decoding."""
    if not text.isascii():
        if any(_disguised(each) for each in set(text) if not each.isascii()):
            return "A URI holds no characters that look like a dot, a slash or a percent sign."
        text = _seen(text)
    if "\\" in text or _HIDDEN.search(text):
        return "A URI holds no backslashes, and no encoded dots, slashes, backslashes or control characters."
    if any(segment.strip(" ") in (".", "..") for segment in _DELIMITERS.split(text)):
        return "A URI holds no dot segments."
    authority = _AUTHORITY.match(text)
    if authority is not None and "@" in authority[1]:
        return "The URI of a resource names no user."
    return None


def _disguised(character: str) -> bool:
    if character in _SLASHES or unicodedata.category(character) in _CONTROLS:
        return True
    return not _SEPARATORS.isdisjoint(unicodedata.normalize("NFKC", character))


def _seen(text: str) -> str:
    """Without format characters, which nobody sees and some readers drop."""
    return "".join(each for each in text if unicodedata.category(each) != "Cf")
