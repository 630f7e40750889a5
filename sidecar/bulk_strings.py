"""Words of commands to the store as RESP bulk strings, so that words that are known beforehand are encoded once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EncodedWords:
    """Words of a command as they are sent, one after the other."""

    count: int
    packed: bytes


def bulk(word: str | bytes | int) -> bytes:
    """Return one word as a bulk string."""
    raw = word if isinstance(word, bytes) else str(word).encode()
    return b"$%d\r\n%b\r\n" % (len(raw), raw)


def encode_words(*words: str | bytes | int) -> EncodedWords:
    """Return words as bulk strings."""
    return EncodedWords(len(words), b"".join(map(bulk, words)))
