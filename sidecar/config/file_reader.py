"""Readers of config and policy files: from disk, or from the record of an earlier read.

A worker that replaces another one serves by the files in force, which may differ from those on disk by then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class FileRecord:
    """Contents of files; they may hold secrets.

    Attributes:
        texts: the files that were read, by path.
        folders: the names in the folders that were listed, by path.
    """

    texts: Mapping[str, str] = field(default_factory=dict, repr=False)
    folders: Mapping[str, Sequence[str]] = field(default_factory=dict)


class FileReader(Protocol):
    """Access to files."""

    def read(self, path: Path) -> bytes:
        """Return the content of a file; raises OSError."""

    def names(self, folder: Path) -> Sequence[str]:
        """Return the names in a folder, in no order; raises OSError."""

    def exists(self, path: Path) -> bool:
        """Return True for a file or folder."""

    def is_file(self, path: Path) -> bool:
        """Return True for a file."""


class DiskReader:
    """Reader of the files on disk, which records what it has read.

    Attributes:
        record: what was read so far.
    """

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self._folders: dict[str, Sequence[str]] = {}
        self.record = FileRecord(self._texts, self._folders)

    def read(self, path: Path) -> bytes:
        """Return the content of a file; raises OSError."""
        data = path.read_bytes()
        self._texts[str(path)] = data.decode("utf-8", "replace")  # a file that is not UTF-8 does not load
        return data

    def names(self, folder: Path) -> Sequence[str]:
        """Return the names in a folder, in no order; raises OSError."""
        names = self._folders[str(folder)] = [entry.name for entry in folder.iterdir()]
        return names

    def exists(self, path: Path) -> bool:
        """Return True for a file or folder."""
        return path.exists()

    def is_file(self, path: Path) -> bool:
        """Return True for a file."""
        return path.is_file()


class RecordReader:
    """Reader of the files in a record; others do not exist."""

    def __init__(self, record: FileRecord) -> None:
        self.record = record

    def read(self, path: Path) -> bytes:
        """Return the content of a file; raises OSError."""
        try:
            return self.record.texts[str(path)].encode()
        except KeyError:
            raise FileNotFoundError(f"{path} is not in the record") from None

    def names(self, folder: Path) -> Sequence[str]:
        """Return the names in a folder, in no order; raises OSError."""
        try:
            return self.record.folders[str(folder)]
        except KeyError:
            raise FileNotFoundError(f"{folder} is not in the record") from None

    def exists(self, path: Path) -> bool:
        """Return True for a file or folder."""
        return str(path) in self.record.texts or str(path) in self.record.folders

    def is_file(self, path: Path) -> bool:
        """Return True for a file."""
        return str(path) in self.record.texts
