"""Key set in a file, for a sidecar without a way to the issuer: read in a thread, again when the file changes."""

from __future__ import annotations

import asyncio
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sidecar.identity import issuer_json
from sidecar.identity.jwt.discovery import MAX_DOCUMENT, FetchError
from sidecar.system.threads import LimitedThreads

CHECK_EVERY: Final = 2.0
"""Seconds between two checks of the file."""
READ_WITHIN: Final = 5.0
"""Seconds that one check may take."""


@dataclass(frozen=True, slots=True)
class _ReadFile:
    """Content of the file, and the stamp of the file before it was read."""

    document: object
    stamp: tuple[int, ...]


class KeyFileSource:
    """Source of one issuer's key set, with the interface of `KeySource`.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._threads = LimitedThreads("key file")
        self._last: _ReadFile | None = None

    async def fetch(self) -> object:
        """Return the parsed key set: the same object while the file is unchanged.

        Raises:
            FetchError: the file cannot be read, or is no JSON object.
        """
        try:
            async with asyncio.timeout(READ_WITHIN):
                self._last = await self._threads.run(_read, self._path, self._last)
        except TimeoutError:
            raise FetchError(f"{self._path}: the file system does not answer") from None
        except FetchError as error:
            raise FetchError(f"{self._path}: {error}") from None
        return self._last.document


def read_key_file(path: Path) -> object:
    """Read and parse a key set; it blocks.

    Raises:
        FetchError: the file cannot be read, or is no JSON object; the message has nothing of its content.
    """
    return _read(path, None).document


def _read(path: Path, last: _ReadFile | None) -> _ReadFile:
    try:
        # Without waiting for a writer: opening a pipe could block forever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise FetchError("is not a regular file")
            stamp = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            if last is not None and last.stamp == stamp:
                return last
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                data = file.read(MAX_DOCUMENT + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise FetchError(f"cannot be read ({error.strerror})") from None
    if len(data) > MAX_DOCUMENT:
        raise FetchError(f"is larger than {MAX_DOCUMENT} bytes")
    try:
        return _ReadFile(issuer_json.parse_object(data), stamp)
    except issuer_json.IssuerJsonError as error:
        raise FetchError(str(error)) from None
